"""How good a classifier is on labelled images: one model from Python, or one or two as a run that can be interrupted
and resumed.

    classifier = Classifier("resnet50.onnx")
    evaluation = evaluate(classifier, read_dataset("imagenet/val", labels=classifier.labels))

docs/evaluate.md says how each figure is computed.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torchless.batch.conductor import Place, Sink, conduct, outcome_of
from torchless.batch.identity import run_identity
from torchless.batch.journal import Journal, open_journal
from torchless.batch.outcome import NAMED, Outcome
from torchless.batch.outputs import Format, check_format, choose_format, format_of, open_writer
from torchless.engine.classifier import Classifier
from torchless.engine.head import Head
from torchless.engine.options import tell_opened
from torchless.engine.plan import Plan, make_plan
from torchless.engine.results import Input, Result
from torchless.errors import UsageError
from torchless.evaluate.agreement import Agreement, compare_answers
from torchless.evaluate.dataset import Dataset, MultiLabelDataset, read_dataset
from torchless.evaluate.multi_label import MultiLabelEvaluation, MultiLabelTally
from torchless.evaluate.multi_label_data import read_multi_label_dataset
from torchless.evaluate.options import EvaluateOptions
from torchless.evaluate.tally import TOP_K, Evaluation, Failure, Tally
from torchless.image.decode import take_pillow_over
from torchless.progress import Bar, choose_bar, no_bar
from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Findings:
    """An Evaluation for each of the `models`, on the images `chosen` of `dataset`, read upright if `apply_exif`."""

    models: tuple[Path, ...]
    dataset: Dataset | MultiLabelDataset
    chosen: Dataset | MultiLabelDataset
    evaluations: tuple[Evaluation | MultiLabelEvaluation, ...]
    apply_exif: bool = True

    @cached_property
    def agreement(self) -> Agreement | None:
        """How the second model's answers compare with the first's; None without a second model."""
        match self.chosen, self.evaluations:
            case Dataset() as chosen, (Evaluation() as first, Evaluation() as second):
                return compare_answers(chosen, first.answers, second.answers)
        return None

    def to_dict(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        model, *other = map(str, self.models)
        images = {"images_in_data": len(self.dataset), "images_drawn": len(self.chosen)}
        found, *others = (evaluation.to_dict() for evaluation in self.evaluations)
        against = (
            {"model": other[0], "agreement": self.agreement.to_dict(), "evaluation": others[0]}
            if self.agreement
            else None
        )
        return {"model": model, "data": self.dataset.source, **images, **found, "against": against}


def evaluate_models(options: EvaluateOptions) -> tuple[Outcome, Findings | None]:
    """Evaluates the model, and the one it is compared with. Returns how the run ended, and the findings: None after
    Ctrl-C.

    The rows of `output` are the first model's; both models' journals stay until everything is done. `confusion_matrix`
    is checked here; the caller draws it after printing the findings. Raises UsageError, ArtifactError, DeviceError or
    MissingDependencyError before any image is read.
    """
    _check_output(options)
    head = _common_head(options)
    read = read_multi_label_dataset if head.multi_label else partial(read_dataset, strict=options.strict)
    dataset: Dataset | MultiLabelDataset = read(options.data, labels=head.labels, class_map=options.class_map)
    chosen = dataset.sample(options.limit)
    if options.confusion_matrix is not None and isinstance(chosen, Dataset):
        from torchless.evaluate.confusion_matrix import check_picture

        check_picture(options.confusion_matrix, chosen)
    plan = make_plan(-(-len(chosen) // options.batch_size), workers=options.workers, threads=options.opening.threads)
    take_pillow_over(plan.workers)
    classifiers = [_open(options, path, plan) for path in options.models]
    run = partial(
        _evaluate,
        dataset=chosen,
        batch_size=options.batch_size,
        workers=plan.workers,
        bar=choose_bar(lambda: len(chosen)),
    )
    with ExitStack() as stack:
        journals = [stack.enter_context(journal) for journal in _journals(options, classifiers)]
        started = time.perf_counter()
        try:
            found = [
                run(classifier, journal=journals[number] if journals else None)
                for number, classifier in enumerate(classifiers)
            ]
        except KeyboardInterrupt:
            return outcome_of(*journals, interrupted=True), None
        seconds = time.perf_counter() - started
        if options.output is not None:
            format = choose_format(None, options.output)
            with open_writer(format, options.output, labelled=True, multi_label=head.multi_label) as writer:
                for row in chosen.labelled(journals[0].results()):
                    writer.write(row)
        for journal in journals:
            journal.remove()
    failed = _failed_of_any(found)
    outcome = Outcome(
        rows=len(chosen),
        failed=len(failed),
        failures=tuple((row.image, row.error) for row in failed[:NAMED]),
        new=max(journal.new for journal in journals) if journals else len(chosen),
        seconds=seconds,
        notes=(*dataset.passed_over.lines(), *(note for journal in journals for note in journal.notes)),
        output=options.output,
    )
    return outcome, Findings(
        models=options.models,
        dataset=dataset,
        chosen=chosen,
        evaluations=tuple(found),
        apply_exif=options.opening.image_options.apply_exif,
    )


def evaluate(
    classifier: Classifier,
    dataset: Dataset,
    *,
    batch_size: int = 1,
    workers: int | None = None,
    limit: int | None = None,
    journal: Journal | None = None,
    bar: Bar = no_bar,
) -> Evaluation:
    """Classifies the images of `dataset`, or `limit` of them drawn at random (Dataset.sample), and counts.

    For a multi-label model there is evaluate_multi_label. `batch_size` and `workers` are those of
    Classifier.classify_many. Rows in `journal` are not done again, and new ones
    are added to it. `bar` opens a progress bar, given the number already done. An image that cannot be read is in
    `failed`. Raises UsageError if the dataset was read for other labels, ImageError if no image at all could be
    evaluated, KeyboardInterrupt after Ctrl-C.
    """
    if classifier.head.multi_label:
        raise UsageError(
            f"{classifier.file.path} is a multi-label model, which has no top-1 error: mean average precision and F1 "
            "need a list with all classes of each image (docs/evaluate.md)"
        )
    chosen = dataset.sample(limit)
    tally = Tally(chosen)
    classify = partial(classifier.classify_many, batch_size=batch_size, top_k=TOP_K, workers=workers)
    return tally.evaluation(_tallied(classifier, classify, chosen, tally, journal, bar))


def evaluate_multi_label(
    classifier: Classifier,
    dataset: MultiLabelDataset,
    *,
    batch_size: int = 1,
    workers: int | None = None,
    limit: int | None = None,
    journal: Journal | None = None,
    bar: Bar = no_bar,
) -> MultiLabelEvaluation:
    """The same for a multi-label model, and a dataset with all classes of each image (read_multi_label_dataset)."""
    thresholds = classifier.head.thresholds
    if thresholds is None:
        raise UsageError(f"{classifier.file.path} gives each image one class; evaluate it with evaluate()")
    chosen = dataset.sample(limit)
    tally = MultiLabelTally(chosen, thresholds)
    classify = partial(classifier.classify_many, batch_size=batch_size, workers=workers, all_classes=True)
    return tally.evaluation(_tallied(classifier, classify, chosen, tally, journal, bar))


def _evaluate(classifier: Classifier, dataset: Dataset | MultiLabelDataset, **options: Any) -> Any:
    evaluate_it: Any = evaluate if isinstance(dataset, Dataset) else evaluate_multi_label
    return evaluate_it(classifier, dataset, **options)


def _tallied(
    classifier: Classifier,
    classify: Callable[[Iterator[Input]], Iterator[Result]],
    chosen: Dataset | MultiLabelDataset,
    tally: Tally | MultiLabelTally,
    journal: Journal | None,
    bar: Bar,
) -> float | None:
    """Adds the rows of all images to the tally; returns images per second, None if all came from an earlier run."""
    if chosen.labels != classifier.labels:
        raise UsageError("the dataset was read for other labels than the classifier's: give read_dataset its labels")
    place: Place[Result] = journal if journal is not None else Sink(tally.add)
    outcome = conduct(classify, chosen.inputs(), place, bar)
    if outcome.interrupted:
        raise KeyboardInterrupt
    for row in journal.results() if journal is not None else ():
        tally.add(row)
    return outcome.new / outcome.seconds if outcome.new else None


def _failed_of_any(found: Sequence[Evaluation | MultiLabelEvaluation]) -> list[Failure]:
    """The images that a model could not evaluate, each once."""
    first, *others = found
    named = {row.image for row in first.failed}
    return [*first.failed, *(row for other in others for row in other.failed if row.image not in named)]


def _open(options: EvaluateOptions, path: Path, plan: Plan) -> Classifier:
    opening = replace(options.opening, threads=plan.threads)
    classifier, warnings = opening.open_with_warnings(path)
    tell_opened(
        classifier,
        warnings,
        device=opening.device if path is options.model else classifier.device,
        workers=plan.workers,
    )
    return classifier


def _journals(options: EvaluateOptions, classifiers: Sequence[Classifier]) -> Iterator[AbstractContextManager[Journal]]:
    if options.output is None:
        return
    for classifier, model, suffix in zip(classifiers, options.models, ("", ".against"), strict=False):
        run = run_identity(classifier, model, options.opening.image_options)
        yield open_journal(options.output.with_name(options.output.name + suffix), run, resume=options.resume)


def _check_output(options: EvaluateOptions) -> None:
    output = options.output
    if options.resume and output is None:
        raise UsageError("`resume` needs `output` FILE")
    if output is not None:
        format = format_of(output)
        if format in (None, Format.TABLE):
            raise UsageError(f"cannot write rows to {output}: the name must end in .jsonl, .json, .csv or .parquet")
        check_format(format, output)


def _common_head(options: EvaluateOptions) -> Head:
    """The head of the model, whose labels the data is read for.

    Raises UsageError if two models have different labels, and for what a multi-label model has not.
    """
    first, *others = heads = [options.opening.head_of(path) for path in options.models]
    if any(head.labels != first.labels for head in others):
        raise UsageError(
            f"{options.model} and {options.against} have different labels; if their classes are the same, give "
            f"both `labels`"
        )
    for name in ("against", "confusion_matrix"):
        if getattr(options, name) is not None and any(head.multi_label for head in heads):
            raise UsageError(f"`{name}` is for models that give each image one class, not for multi-label models")
    return first
