"""An evaluation as text for people."""

from collections.abc import Iterator, Sequence

from torchless.evaluate.agreement import Agreement
from torchless.evaluate.intervals import Interval
from torchless.evaluate.multi_label import MultiLabelClassFigures, MultiLabelEvaluation
from torchless.evaluate.run import Findings
from torchless.evaluate.tally import BINS, ClassFigures, Evaluation, Failure
from torchless.text import columns, printable

_SHOWN = 10


def findings_text(found: Findings) -> str:
    """The text that `torchless evaluate` prints."""
    drawn = (
        f" ({len(found.chosen):,} of {len(found.dataset):,} images, drawn at random)"
        if len(found.chosen) < len(found.dataset)
        else ""
    )
    model, *against = [printable(str(model)) for model in found.models]
    title, agreement = f"{model} on {printable(str(found.dataset.source))}{drawn}", found.agreement
    first, *others = found.evaluations
    if isinstance(first, MultiLabelEvaluation):
        return multi_label_text(first, title)
    text = evaluation_text(first, title)
    for other in others:
        if agreement is not None and isinstance(other, Evaluation):
            text += f"\n\n{agreement_text(agreement, model, against[0], other)}\n{_exif_text(found.apply_exif)}"
    return text


def _exif_text(applied: bool) -> str:
    if applied:
        return "both read photos upright, by EXIF; PyTorch's usual loaders do not (--no-exif)"
    return "both read photos as they are stored, without EXIF, as PyTorch's usual loaders do"


def multi_label_text(evaluation: MultiLabelEvaluation, title: str) -> str:
    """The lines for a multi-label model; `title` says what was evaluated on what."""
    rate = f", {evaluation.images_per_second:.1f} images/s" if evaluation.images_per_second is not None else ""
    known = [row for row in evaluation.classes if row.images]
    classes = f"{len(known):,} of {_count(len(evaluation.classes), 'class', 'classes')}"
    head = f"{title}: {_count(evaluation.images, 'image')}, which have {classes}{rate}"
    named = {
        "mean average precision": evaluation.mean_average_precision,
        "F1, mean over classes (macro)": evaluation.f1_macro,
        "F1, all decisions (micro)": evaluation.f1_micro,
    }
    rows = [(f"  {name}", percent(figure.value), f"95 % interval {_range(figure)}") for name, figure in named.items()]
    return "\n".join([head, *columns(rows, "<><"), *_weakest(known), *_failed(evaluation.failed)])


def _weakest(known: Sequence[MultiLabelClassFigures]) -> Iterator[str]:
    yield f"\nclasses, the lowest average precision first{_of(len(known))}"
    header = ("  class", "images", "average precision", "F1", "precision", "recall", "threshold")
    ordered = sorted(known, key=lambda row: (row.average_precision or 0.0, row.index))
    yield from columns([header, *map(_multi_label_row, ordered[:_SHOWN])], "<>>>>>>")


def _multi_label_row(row: MultiLabelClassFigures) -> tuple[str, ...]:
    return (
        f"  {printable(row.label)}",
        f"{row.images:,}",
        percent(row.average_precision or 0.0),
        percent(row.f1),
        percent(row.precision) if row.precision is not None else "never said",
        percent(row.recall or 0.0),
        f"{row.threshold:g}",
    )


def evaluation_text(evaluation: Evaluation, title: str) -> str:
    """The lines for one model; `title` says what was evaluated on what."""
    rate = f", {evaluation.images_per_second:.1f} images/s" if evaluation.images_per_second is not None else ""
    head = (
        f"{title}: {_count(evaluation.images, 'image')} of {_count(len(evaluation.classes), 'class', 'classes')}{rate}"
    )
    return "\n".join(
        [
            head,
            *_errors(evaluation),
            *_calibration(evaluation),
            *_worst(evaluation),
            *_confusions(evaluation),
            *_failed(evaluation.failed),
        ]
    )


def agreement_text(agreement: Agreement, first: str, second: str, other: Evaluation) -> str:
    """How model `second`, which has the figures `other`, compares with model `first`."""
    verdict = "more than chance explains" if agreement.p_value < 0.05 else "chance may explain the difference"
    same, images = agreement.same_answer, _count(agreement.images, "image")
    return f"""\
against {second}: top-1 error {percent(other.top1_error.value)}, 95 % interval {_range(other.top1_error)}
  same answer on {percent(same.value)} of {images}, 95 % interval {_range(same)}
  {first} alone is right on {agreement.only_first_right}, {second} alone on {agreement.only_second_right}
  both are right on {agreement.both_right}, neither on {agreement.both_wrong}
  McNemar's exact test: p = {agreement.p_value:.2g}, {verdict}"""


def percent(share: float) -> str:
    return f"{share * 100:.2f} %"


def interval_text(interval: Interval) -> str:
    """The share and its interval, in short."""
    return f"{percent(interval.value)} [{_range(interval)}]"


def _range(interval: Interval) -> str:
    return f"{interval.low * 100:.2f} to {percent(interval.high)}"


def _count(number: int, singular: str, plural: str | None = None) -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def _errors(evaluation: Evaluation) -> list[str]:
    named = {"top-1 error": evaluation.top1_error} | (
        {"top-5 error": evaluation.top5_error} if evaluation.top5_error is not None else {}
    )
    rows = [
        (
            f"  {name}",
            percent(error.value),
            f"95 % interval {_range(error)}",
            f"{round(error.value * evaluation.images):,} wrong",
        )
        for name, error in named.items()
    ]
    lines = columns(rows, "<><<")
    return (
        lines
        if evaluation.top5_error is not None
        else [*lines, "  top-5 error  not given for a model of 5 classes or fewer"]
    )


def _calibration(evaluation: Evaluation) -> Iterator[str]:
    right = percent(1 - evaluation.top1_error.value)
    yield (
        f"  calibration  {percent(evaluation.mean_confidence)} sure on average, {right} right; ECE "
        f"{percent(evaluation.ece)} over {BINS} bins"
    )


def _worst(evaluation: Evaluation) -> Iterator[str]:
    """The most certain first: by the lower end of the interval, so that a single image does not make a class the
    worst.
    """
    wrong = sorted(
        (row for row in evaluation.classes if row.correct < row.images),
        key=lambda row: (-row.top1_error.low, row.index),
    )
    if not wrong:
        return
    yield f"\nworst classes{_of(len(wrong))}"
    rows = [("  class", "images", "wrong", "error", "95 % interval", "precision"), *map(_class_row, wrong[:_SHOWN])]
    yield from columns(rows, "<>>>>>")


def _class_row(row: ClassFigures) -> tuple[str, ...]:
    precision = percent(row.precision) if row.precision is not None else "never said"
    error = row.top1_error
    return (
        f"  {printable(row.label)}",
        f"{row.images:,}",
        f"{row.images - row.correct:,}",
        percent(error.value),
        _range(error),
        precision,
    )


def _confusions(evaluation: Evaluation) -> Iterator[str]:
    if evaluation.confusions:
        yield f"\nmost frequent confusions{_of(len(evaluation.confusions))}"
        rows = [
            (f"  {row.images:,}", printable(row.target_label), f"taken for {printable(row.predicted_label)}")
            for row in evaluation.confusions[:_SHOWN]
        ]
        yield from columns(rows, "><<")


def _failed(failed: Sequence[Failure]) -> Iterator[str]:
    if failed:
        head = f"\n{_count(len(failed), 'image')} could not be evaluated, and no figure includes "
        yield f"{head}{'it' if len(failed) == 1 else 'them'}{_of(len(failed))}"
        yield from (f"  {printable(row.image)}: {printable(row.error)}" for row in failed[:_SHOWN])


def _of(number: int) -> str:
    return f" ({_SHOWN} of {number:,}; JSON has all)" if number > _SHOWN else ""
