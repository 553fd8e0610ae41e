"""How good a classifier is on labelled images: one model from Python, or one or two as a run that can be interrupted
and resumed.

    classifier = Classifier("resnet50.onnx")
    evaluation = evaluate(classifier, read_dataset("imagenet/val", labels=classifier.labels))

docs/evaluate.md says how each figure is computed.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from torchless.batch.conductor import Outcome, Place, Sink, conduct
from torchless.batch.identity import run_identity
from torchless.batch.journal import Journal, open_journal
from torchless.batch.outputs import Format, check_format, choose_format, open_writer
from torchless.engine.classifier import Classifier
from torchless.engine.options import tell_opened
from torchless.engine.plan import Plan, make_plan
from torchless.engine.results import Result
from torchless.errors import UsageError
from torchless.evaluate.agreement import Agreement, compare_answers
from torchless.evaluate.dataset import Dataset, read_dataset
from torchless.evaluate.options import EvaluateOptions
from torchless.evaluate.tally import TOP_K, Evaluation, Tally
from torchless.image.decode import take_pillow_over
from torchless.process import tell
from torchless.progress import Bar, choose_bar, no_bar


@dataclass(frozen=True, kw_only=True)
class Findings:
    """An Evaluation for each of the `models`, on the images `chosen` of `dataset`."""

    models: tuple[Path, ...]
    dataset: Dataset
    chosen: Dataset
    evaluations: tuple[Evaluation, ...]

    @cached_property
    def agreement(self) -> Agreement | None:
        """How the second model's answers compare with the first's; None without a second model."""
        first, *others = (evaluation.answers for evaluation in self.evaluations)
        return compare_answers(self.chosen, first, others[0]) if others else None

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
    dataset = read_dataset(options.data, labels=_common_labels(options), class_map=options.class_map)
    chosen = dataset.sample(options.limit)
    if options.confusion_matrix is not None:
        from torchless.evaluate.confusion_matrix import check_picture

        check_picture(options.confusion_matrix, chosen)
    if dataset.passed_over:
        tell(f"warning: skipped, because their names have no image suffix: {_some(dataset.passed_over)}")
    plan = make_plan(-(-len(chosen) // options.batch_size), workers=options.workers, threads=options.opening.threads)
    take_pillow_over(plan.workers)
    classifiers = [_open(options, path, plan) for path in options.models]
    run = partial(
        evaluate,
        dataset=chosen,
        batch_size=options.batch_size,
        workers=plan.workers,
        bar=choose_bar(lambda: len(chosen)),
    )
    with ExitStack() as stack:
        journals = [stack.enter_context(journal) for journal in _journals(options, classifiers)]
        try:
            found = [
                run(classifier, journal=journals[number] if journals else None)
                for number, classifier in enumerate(classifiers)
            ]
        except KeyboardInterrupt:
            return Outcome.of(*journals, interrupted=True), None
        if options.output is not None:
            with open_writer(choose_format(None, options.output), options.output, labelled=True) as writer:
                for row in chosen.labelled(journals[0].results()):
                    writer.write(row)
        for journal in journals:
            journal.remove()
    outcome = Outcome(sum(item.images + len(item.failed) for item in found), sum(len(item.failed) for item in found))
    return outcome, Findings(models=options.models, dataset=dataset, chosen=chosen, evaluations=tuple(found))


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

    `batch_size` and `workers` are those of Classifier.classify_many. Rows in `journal` are not done again, and new ones
    are added to it. `bar` opens a progress bar, given the number already done. An image that cannot be read is in
    `failed`. Raises UsageError if the dataset was read for other labels, ImageError if no image at all could be
    evaluated, KeyboardInterrupt after Ctrl-C.
    """
    if dataset.labels != classifier.labels:
        raise UsageError("the dataset was read for other labels than the classifier's: give read_dataset its labels")
    chosen = dataset.sample(limit)
    tally = Tally(chosen)
    classify = partial(classifier.classify_many, batch_size=batch_size, top_k=TOP_K, workers=workers)
    place: Place[Result] = journal if journal is not None else Sink(tally.add)
    started, before = time.perf_counter(), place.rows
    if conduct(classify, chosen.inputs(), place, bar).interrupted:
        raise KeyboardInterrupt
    seconds, rows = time.perf_counter() - started, place.rows - before
    for row in journal.results() if journal is not None else ():
        tally.add(row)
    return tally.evaluation(rows / seconds if rows else None)


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
        format = choose_format(None, output)
        if format is Format.TABLE:
            raise UsageError(f"cannot write rows to {output}: the name must end in .jsonl, .json, .csv or .parquet")
        check_format(format, output)


def _common_labels(options: EvaluateOptions) -> tuple[str, ...]:
    """The labels that the data is read for. Raises UsageError if two models have different ones."""
    first, *others = [options.opening.labels_of(path) for path in options.models]
    if any(labels != first for labels in others):
        raise UsageError(
            f"{options.model} and {options.against} have different labels; if their classes are the same, give "
            f"both `labels`"
        )
    return first


def _some(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"
