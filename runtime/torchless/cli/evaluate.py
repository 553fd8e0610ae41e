"""The verb `torchless evaluate`: parse, call the library, print."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchless.batch.outputs import Format, check_format, choose_format, open_writer
from torchless.batch.preamble import Doubts, given_labels, given_manifest, run_identity, tell_beforehand
from torchless.cli.options import (
    BatchSize,
    Decode,
    DecodeOption,
    Device,
    Exif,
    Labels,
    ManifestFile,
    MaxMegapixels,
    ModelFile,
    Resume,
    Threads,
    Workers,
    print_json,
)
from torchless.errors import UsageError

if TYPE_CHECKING:
    from torchless.batch.journal import Journal
    from torchless.engine.classifier import Classifier
    from torchless.engine.plan import Plan
    from torchless.evaluate.dataset import Dataset
    from torchless.evaluate.tally import Evaluation
    from torchless.image.decode import ImageOptions
    from torchless.model.manifest import Manifest

_DATA = "A folder with a folder of images for each class; or a .csv or .jsonl list with the columns image, and label or index."
_CLASS_MAP = (
    "Which folder or label is which class, if they are not the model's labels: a .json object, or one name a line, that of class 0 first."
)
_ROWS = "Write a row for each image, with its true class: .jsonl, .json, .csv or .parquet."


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command("evaluate", no_args_is_help=True)(evaluate_command)


def evaluate_command(
    model: ModelFile,
    data: Annotated[Path, typer.Argument(help=_DATA, show_default=False)],
    class_map: Annotated[Path | None, typer.Option(help=_CLASS_MAP, show_default=False)] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Take so many images, drawn at random, the same ones each time.", show_default="all")
    ] = None,
    against: Annotated[
        Path | None, typer.Option(help="Another .onnx file: is one of the two really better? (McNemar's test)", show_default=False)
    ] = None,
    confusion_matrix: Annotated[
        Path | None,
        typer.Option(help="Draw it, for up to 50 classes: .png, .svg or .pdf. Needs matplotlib (extra: compare).", show_default=False),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, with every class, confusion and failed image.")] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help=_ROWS, show_default=False)] = None,
    resume: Resume = False,
    device: Device = "auto",
    threads: Threads = None,
    workers: Workers = None,
    batch_size: BatchSize = 1,
    labels: Labels = None,
    exif: Exif = True,
    decode: DecodeOption = None,
    max_megapixels: MaxMegapixels = 100,
    manifest: ManifestFile = None,
) -> None:
    """Measure top-1 and top-5 error on labelled images, with 95 % intervals; the worst classes, the confusions, the calibration.

    DATA is a folder of class folders, named as the model's labels, or as ImageNet's 1,000 WordNet ids; or a list, .csv or .jsonl, with the
    columns image (from the list's own folder) and label or index. docs/evaluate.md says how every figure is computed.

    Examples:  torchless evaluate resnet50.onnx imagenet/val --limit 5000  ·  torchless evaluate mine.onnx test.csv --against other.onnx

    Exit code 0 when all images were evaluated, 1 when some failed (they are named, and count in no figure); else as for infer.
    """
    from torchless.engine.plan import make_plan
    from torchless.evaluate.dataset import read_dataset
    from torchless.image.decode import ImageOptions

    _check_output(output, resume=resume)
    own_labels, own_manifest = given_labels(labels), given_manifest(manifest)
    models = [model] if against is None else [model, against]
    dataset = read_dataset(data, labels=_common_labels(models, own_labels, own_manifest), class_map=class_map)
    chosen = dataset.sample(limit)
    if confusion_matrix is not None:
        from torchless.evaluate.confusion_matrix import check_picture, draw_confusion_matrix

        check_picture(confusion_matrix, chosen)
    if dataset.passed_over:
        typer.echo(f"warning: passed over, since their names do not end as images' do: {_some(dataset.passed_over)}", err=True)
    run = _Run(
        dataset=chosen,
        models=models,
        labels=own_labels,
        manifest=own_manifest,
        device=device,
        plan=make_plan(-(-len(chosen) // batch_size), workers=workers, threads=threads),
        batch_size=batch_size,
        image_options=ImageOptions(apply_exif=exif, max_pixels=int(max_megapixels * 1e6), decode=(decode or Decode.EXACT).value),
        output=output,
        resume=resume,
    )
    evaluations = run.evaluate()
    if as_json:
        print_json(_document(models, dataset, chosen, evaluations))
    else:
        typer.echo(_text(models, dataset, chosen, evaluations))
    if confusion_matrix is not None:
        draw_confusion_matrix(evaluations[0], confusion_matrix, f"{model.name} on {data}")
    if any(evaluation.failed for evaluation in evaluations):
        raise typer.Exit(1)


def _some(names: tuple[str, ...]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1:,} more"


@dataclass(frozen=True, kw_only=True)
class _Run:
    """The work of one command, on one or two models."""

    dataset: "Dataset"
    models: list[Path]
    labels: tuple[str, ...] | None
    manifest: "Manifest | None"
    device: str
    plan: "Plan"
    batch_size: int
    image_options: "ImageOptions"
    output: Path | None
    resume: bool

    def evaluate(self) -> "list[Evaluation]":
        """An Evaluation for each model. Rows of --output are the first one's; journals stay until all is done. typer.Exit after Ctrl-C."""
        from torchless.image.decode import take_pillow_over

        take_pillow_over(self.plan.workers)
        classifiers = [self._open(path, tell_device=number == 0) for number, path in enumerate(self.models)]
        if self.output is None:
            return self._evaluate(classifiers, [None] * len(classifiers))
        with ExitStack() as stack:
            journals = [stack.enter_context(journal) for journal in self._journals(self.output, classifiers)]
            evaluations = self._evaluate(classifiers, journals)
            with open_writer(choose_format(None, self.output), self.output, labelled=True) as writer:
                for row in self.dataset.labelled(journals[0].results()):
                    writer.write(row)
            for journal in journals:
                journal.remove()
        return evaluations

    def _open(self, path: Path, *, tell_device: bool) -> "Classifier":
        from torchless.engine.classifier import Classifier

        doubts = Doubts(path)
        classifier = Classifier(
            path,
            device=self.device,
            threads=self.plan.threads,
            labels=self.labels,
            manifest=self.manifest,
            image_options=self.image_options,
        )
        tell_beforehand(classifier, self.device if tell_device else classifier.device, self.plan.workers, doubts)
        return classifier

    def _journals(self, output: Path, classifiers: "list[Classifier]") -> "Iterator[AbstractContextManager[Journal]]":
        from torchless.batch.journal import open_journal

        read = self.image_options
        options: dict[str, object] = {"--decode": read.decode, "--exif": read.apply_exif, "--max-megapixels": read.max_pixels / 1e6}
        for classifier, model, suffix in zip(classifiers, self.models, ("", ".against"), strict=False):
            identity = run_identity(classifier, model, options)
            yield open_journal(output.with_name(output.name + suffix), identity, resume=self.resume)

    def _evaluate(self, classifiers: "list[Classifier]", journals: "Sequence[Journal | None]") -> "list[Evaluation]":
        from torchless.batch.job import no_bar
        from torchless.evaluate.tally import evaluate
        from torchless.progress import is_seen, progress_bar

        bar = partial(progress_bar, len(self.dataset)) if is_seen() else no_bar
        run = partial(evaluate, dataset=self.dataset, batch_size=self.batch_size, workers=self.plan.workers, bar=bar)
        try:
            return [run(classifier, journal=journal) for classifier, journal in zip(classifiers, journals, strict=True)]
        except KeyboardInterrupt:
            raise _interrupted([journal for journal in journals if journal is not None and journal.rows]) from None


def _interrupted(journals: "list[Journal]") -> typer.Exit:
    if not journals:
        typer.echo("interrupted; with --output FILE what is done would be kept, and --resume would go on from there", err=True)
        return typer.Exit(130)
    kept, rows = " and ".join(str(journal.path) for journal in journals), sum(journal.rows for journal in journals)
    typer.echo(f"interrupted: {rows} answers are kept in {kept}: the same command with --resume goes on from there", err=True)
    return typer.Exit(130)


def _check_output(output: Path | None, *, resume: bool) -> None:
    if resume and output is None:
        raise UsageError("--resume needs --output FILE")
    if output is not None:
        format = choose_format(None, output)
        if format is Format.TABLE:
            raise UsageError(f"cannot write rows to {output}: it takes a name that ends in .jsonl, .json, .csv or .parquet")
        check_format(format, output)


def _common_labels(models: list[Path], given: tuple[str, ...] | None, manifest: "Manifest | None") -> tuple[str, ...]:
    """The labels that data is read for. Raises UsageError if two models do not have the same."""
    from torchless.model.artifact import read_artifact

    first, *others = [given or read_artifact(path, manifest=manifest).manifest.labels for path in models]
    if any(labels != first for labels in others):
        raise UsageError(f"{models[0]} and {models[1]} have different labels; if their classes are the same ones, give both --labels FILE")
    return first


def _text(models: list[Path], dataset: "Dataset", chosen: "Dataset", evaluations: "list[Evaluation]") -> str:
    from torchless.evaluate.agreement import compare_answers
    from torchless.evaluate.text import agreement_text, evaluation_text

    drawn = f" ({len(chosen):,} of {len(dataset):,} images, drawn at random)" if len(chosen) < len(dataset) else ""
    text = evaluation_text(evaluations[0], f"{models[0]} on {dataset.source}{drawn}")
    if len(models) == 1:
        return text
    agreement = compare_answers(chosen, *(evaluation.answers for evaluation in evaluations))
    return f"{text}\n\n{agreement_text(agreement, str(models[0]), str(models[1]), evaluations[1])}"


def _document(models: list[Path], dataset: "Dataset", chosen: "Dataset", evaluations: "list[Evaluation]") -> dict[str, Any]:
    from torchless.evaluate.agreement import compare_answers

    document: dict[str, Any] = {"model": str(models[0]), "data": dataset.source, "images_in_data": len(dataset), "images_drawn": len(chosen)}
    document |= evaluations[0].to_dict() | {"against": None}
    if len(models) == 2:
        agreement = compare_answers(chosen, *(evaluation.answers for evaluation in evaluations))
        document["against"] = {"model": str(models[1]), "agreement": agreement.to_dict(), "evaluation": evaluations[1].to_dict()}
    return document
