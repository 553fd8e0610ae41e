"""The command line: parse, call the library, print. Results go to stdout, everything else to stderr."""

import contextlib
import io
import os
import sys
import threading
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.errors import ArtifactError, TorchlessError, UsageError
from torchless.outputs import Format, check_format, choose_format

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchless.artifact import Description
    from torchless.classifier import Classifier
    from torchless.inputs import Input
    from torchless.job import Outcome
    from torchless.manifest import Manifest
    from torchless.plan import Plan

COMMANDS_GROUP = "torchless.commands"

_SETTINGS = {"help_option_names": ["-h", "--help"]}


def _typer(help: str | None = None) -> typer.Typer:
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, context_settings=_SETTINGS)


app = _typer("Export torchvision classifiers to ONNX, prove that the file gives PyTorch's answers, and run it without PyTorch.")
infer_app = _typer()


class Decode(StrEnum):
    """--decode; images.Decode as the command line takes it, without importing Pillow. The oldest typer takes no member for a default."""

    EXACT = "exact"
    FAST = "fast"


_IMAGES = "Image files, folders, quoted globs, .zip and .tar archives, URLs (https://, s3://, gs://), or - for one image on standard input."
_WITHOUT_MANIFEST = "For a file without a manifest"


@app.command(no_args_is_help=True)
@infer_app.command(no_args_is_help=True)
def infer(
    model: Annotated[Path, typer.Argument(help="The exported .onnx file.", show_default=False)],
    images: Annotated[list[str], typer.Argument(help=_IMAGES, show_default=False)],
    top_k: Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many classes to show for each image.")] = 5,
    format: Annotated[
        Format | None,
        typer.Option("--format", "-f", help="How to write results; by default as --output ends, else table.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write to this file, which appears when all is done.", show_default=False)
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an interrupted run with the same --output stopped; from the start if there was none.")
    ] = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into the subfolders of folders too.")] = False,
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or cuda:N. auto takes the GPU if it can be used.")] = "auto",
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads for one forward pass; by default all processors for one image, 1 for many.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Images worked on at once, each by one thread; by default one for each processor (docs/many-images.md).",
            show_default=False,
        ),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", "-b", min=1, help="Images that each worker runs through the model at once; 1 is best on most CPUs.")
    ] = 1,
    labels: Annotated[
        Path | None, typer.Option(help="A text file with one label a line, in place of the model's own.", show_default=False)
    ] = None,
    exif: Annotated[bool, typer.Option("--exif/--no-exif", help="Turn photos upright as their EXIF orientation says.")] = True,
    decode: Annotated[
        Decode | None,
        typer.Option(
            help="exact is bit for bit torchvision's; fast opens large JPEGs smaller, several times as fast (docs/images.md).",
            show_default="exact",
        ),
    ] = None,
    max_megapixels: Annotated[float, typer.Option(min=0, max=1e6, help="Refuse images with more pixels than this, decoded or resized.")] = 100,
    manifest: Annotated[
        Path | None, typer.Option(help="A JSON file that holds one.", rich_help_panel=_WITHOUT_MANIFEST, show_default=False)
    ] = None,
    resize_size: Annotated[
        int | None, typer.Option(min=1, help="The short side to resize to, in pixels.", rich_help_panel=_WITHOUT_MANIFEST, show_default=False)
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="The side of the centre crop, in pixels; by default the graph's.", rich_help_panel=_WITHOUT_MANIFEST, show_default=False
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Of red, green and blue in 0..1, as 0.485,0.456,0.406.", rich_help_panel=_WITHOUT_MANIFEST, show_default=False),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="Of red, green and blue in 0..1, as 0.229,0.224,0.225.", rich_help_panel=_WITHOUT_MANIFEST, show_default=False),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic, …; by default bilinear.", rich_help_panel=_WITHOUT_MANIFEST, show_default=False)
    ] = None,
) -> None:
    """Classify images with an exported model and print the most probable classes.

    Examples:  infer resnet50.onnx cat.jpg  ·  infer resnet50.onnx photos/ --recursive --output labels.jsonl --resume

    Exit code 0 when all images were classified, 1 when some failed (each has a row with its error), 2 for wrong usage, 3 when the model
    file is missing or damaged, 4 when the device is not to be had, 130 after Ctrl-C.
    """
    from torchless.classifier import Classifier
    from torchless.images import ImageOptions
    from torchless.inputs import check, count
    from torchless.job import no_bar, run_job, run_job_with_journal
    from torchless.journal import journal_path
    from torchless.progress import is_wanted, progress_bar

    given_labels = _labels(labels)
    choice = choose_format(format, output)
    check_format(choice, output)
    check(images)
    if resume and (output is None or "-" in images):
        raise UsageError("--resume needs --output FILE, and no image from standard input")
    inputs, known, plan = _plan(images, recursive=recursive, batch_size=batch_size, workers=workers, threads=threads)
    doubts = _Doubts(model)
    classifier = Classifier(
        model,
        device=device,
        threads=plan.threads,
        labels=given_labels,
        manifest=_manifest(manifest),
        description=_description(resize_size, crop_size, mean, std, interpolation, given_labels),
        image_options=ImageOptions(apply_exif=exif, max_pixels=int(max_megapixels * 1e6), decode=(decode or Decode.EXACT).value),
    )
    take_pillow_over()
    _tell(classifier, device, plan.workers, doubts)
    classify = partial(classifier.classify_many, batch_size=batch_size, top_k=top_k, workers=plan.workers)
    bar = partial(progress_bar, count(images, recursive=recursive)) if known > 1 and is_wanted(output) else no_bar
    if output is not None and (resume or (known > 1 and journal_path(output) is not None)):
        options = {"--top-k": top_k, "--decode": decode or Decode.EXACT, "--exif": exif, "--max-megapixels": max_megapixels}
        run = _run_identity(classifier, model, options)
        outcome = run_job_with_journal(classify, inputs, format=choice, output=output, bar=bar, run=run, resume=resume)
    else:
        outcome = run_job(classify, inputs, format=choice, output=output, bar=bar)
    _tell_outcome(outcome)


@app.command(no_args_is_help=True)
def inspect(
    model: Annotated[Path, typer.Argument(help="An .onnx file.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is in a model file: manifest, inputs, outputs, operators, parameters and layers."""
    from torchless.inspection import inspect_model
    from torchless.report import inspection_text

    inspection = inspect_model(model)
    if as_json:
        import json

        typer.echo(json.dumps(inspection.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo(inspection_text(inspection))


@app.command(no_args_is_help=True)
def bench(
    model: Annotated[Path, typer.Argument(help="The exported .onnx file.", show_default=False)],
    image: Annotated[
        Path | None, typer.Option(help="An image like yours; by default a made-up JPEG of 500×375 pixels.", show_default=False)
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option("--batch-size", "-b", min=1, help="Try this batch size; may be repeated.", show_default="1 and 8")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Try so many threads a forward pass; may be repeated.", show_default="1, half and all processors"),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Try so many images at once; may be repeated.", show_default="1, and as many as fill the processors"),
    ] = None,
    device: Annotated[str, typer.Option("--device", "-d", help="auto, cpu, cuda or cuda:N.")] = "auto",
    decode: Annotated[Decode | None, typer.Option(help="exact or fast, as for infer.", show_default="exact")] = None,
    seconds: Annotated[float, typer.Option(help="How long to measure each setting.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure a model on this machine: decoding, preprocessing, inference, whole folders, cold start, memory; and say which setting is best.

    Leave the machine alone meanwhile. Examples:  torchless bench resnet50.onnx  ·  torchless bench resnet50.onnx --image mine.jpg -b 1 -b 16
    """
    from torchless.bench import bench_model, bench_text
    from torchless.images import ImageOptions

    report = bench_model(
        model,
        device=device,
        image=image,
        image_options=ImageOptions(decode=(decode or Decode.EXACT).value),
        batch_sizes=batch_size or (),
        threads=threads or (),
        workers=workers or (),
        seconds=seconds,
    )
    if as_json:
        import json

        typer.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        typer.echo(bench_text(report))


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        from torchless import __version__

        typer.echo(f"torchless {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def _plan(
    images: list[str], *, recursive: bool, batch_size: int, workers: int | None, threads: int | None
) -> tuple["Iterator[Input]", int, "Plan"]:
    """The stream of inputs, looked into just so far as the plan for them depends on how many there are; and how many those are."""
    from itertools import chain, islice

    from torchless.cpus import available_cpus
    from torchless.inputs import expand
    from torchless.plan import make_plan

    inputs = expand(images, recursive=recursive)
    first = list(islice(inputs, batch_size * max(2, workers or available_cpus())))
    return chain(first, inputs), len(first), make_plan(-(-len(first) // batch_size), workers=workers, threads=threads)


def _run_identity(classifier: "Classifier", model: Path, options: dict[str, object]) -> dict[str, object]:
    """What the rows of a resumed run must have in common, each by the name a user knows it by."""
    from hashlib import sha256

    from torchless.artifact import sha256_of

    described = {"the manifest": classifier.manifest.to_json(), "--labels": "\n".join(classifier.labels)}
    return {"the model": sha256_of(model)} | {name: sha256(text.encode()).hexdigest() for name, text in described.items()} | options


def _tell_outcome(outcome: "Outcome") -> None:
    """Ends the command with the exit code that says how its images fared."""
    if outcome.interrupted:
        kept = f", and kept in {outcome.kept_in}: the same command with --resume goes on from there" if outcome.kept_in else ""
        typer.echo(f"interrupted: {outcome.rows} images are done{kept}", err=True)
        raise typer.Exit(130)
    if outcome.failed:
        raise typer.Exit(1)


def take_pillow_over() -> None:
    """Settings of the whole process, which a library leaves alone: our own limit on pixels comes before any is decoded, so that Pillow's
    would only come on top; and what Pillow has to say of an image is in its row, if it is an error.
    """
    import warnings

    from PIL import Image

    Image.MAX_IMAGE_PIXELS = None
    warnings.filterwarnings("ignore", module="PIL")


class _Doubts(threading.Thread):
    """Reads the whole model file for its seal while ONNX Runtime loads it, so that a cold start does not take longer for it."""

    def __init__(self, model: Path) -> None:
        super().__init__(daemon=True)
        self._model = model
        self._found: tuple[str, ...] = ()
        self.start()

    def run(self) -> None:
        from torchless.artifact import manifest_of
        from torchless.graph import read_onnx
        from torchless.trust import check_seal, doubts

        with contextlib.suppress(ArtifactError):  # Classifier meets the same one, and says so
            file = read_onnx(self._model, with_graph=False)
            manifest = manifest_of(file)
            self._found = doubts(file, manifest, check_seal(file)) if manifest is not None else ()

    def found(self) -> tuple[str, ...]:
        """None for a file without a manifest: whoever describes a file by hand knows that nobody has proved it."""
        self.join()
        return self._found


def _tell(classifier: "Classifier", device: str, workers: int, doubts: _Doubts) -> None:
    if device == "auto":
        reason = f"; the GPU cannot be used: {classifier.device_note}" if classifier.device_note else ""
        threads = f", {classifier.threads} thread{'s' * (classifier.threads > 1)}" if classifier.device == "cpu" else ""
        shared = f", {workers} workers" if workers > 1 else ""
        typer.echo(f"device: {classifier.device}{shared}{threads}{reason}", err=True)
    if not classifier.manifest.is_trained:
        from torchless.report import UNTRAINED

        typer.echo(f"warning: {classifier.manifest.model.name} is {UNTRAINED}", err=True)
    for doubt in doubts.found():
        typer.echo(f"warning: {doubt}", err=True)


def _labels(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    from torchless.labels import read_labels

    return read_labels(path)


def _manifest(path: Path | None) -> "Manifest | None":
    if path is None:
        return None
    from torchless.manifest import Manifest

    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ArtifactError) as error:
        raise UsageError(f"cannot read --manifest {path}: {error}") from None


def _description(
    resize_size: int | None,
    crop_size: int | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
    labels: tuple[str, ...] | None,
) -> "Description":
    from torchless.artifact import Description
    from torchless.manifest import parse_interpolation

    return Description(
        resize_size=resize_size,
        crop_size=crop_size,
        mean=three_numbers("--mean", mean),
        std=three_numbers("--std", std),
        interpolation=parse_interpolation(interpolation) if interpolation is not None else None,
        labels=labels,
    )


def three_numbers(flag: str, text: str | None) -> tuple[float, float, float] | None:
    """The value of a flag that takes one number for each colour; UsageError names the flag."""
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"{flag} takes three numbers, as 0.485,0.456,0.406; got {text!r}") from None
    return red, green, blue


def run(application: typer.Typer) -> None:
    """Runs a command line; an error meant for the user becomes one line on stderr and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that are not UTF-8, or a terminal that is not
            stream.reconfigure(errors="backslashreplace")
    try:
        application()
    except TorchlessError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:  # files have errors of their own; what is left is standard output on a full disk
        typer.echo(f"error: cannot write the results: {error.strerror or error}", err=True)
        os._exit(1)  # not sys.exit: Python would try to write the rest once more, and say so


def main() -> None:
    """The program `torchless`: the runtime's verbs, and those that the export side registers under `torchless.commands`."""
    from importlib.metadata import entry_points

    from torchless.serve.command import register

    register(app)
    for entry_point in entry_points(group=COMMANDS_GROUP):
        entry_point.load()(app)
    run(app)


def infer_main() -> None:
    """The program `infer`, short for `torchless infer`; it looks for no other verbs, and so starts faster."""
    run(infer_app)
