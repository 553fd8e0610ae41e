"""The command line: parse, call the library, print. Results go to stdout, everything else to stderr."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.batch.outputs import Format
from torchless.errors import UsageError
from torchless.process import run_program

if TYPE_CHECKING:
    from torchless.model.artifact import Description

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


class Engine(StrEnum):
    """--engine of `infer` and `serve`."""

    LOCAL = "local"
    RAY = "ray"


ENGINE_PANEL = "Many machines (docs/scaling.md)"
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster, as HOST:6379 or auto; by default RAY_ADDRESS, else this machine alone.",
        rich_help_panel=ENGINE_PANEL,
        show_default=False,
    ),
]
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
    require_signature: Annotated[
        Path | None,
        typer.Option(
            "--require-signature",
            metavar="KEY",
            help="Refuse a model that is not signed with this public key, or was altered since (torchless sign).",
            show_default=False,
        ),
    ] = None,
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
    engine: Annotated[
        Engine | None,
        typer.Option(
            help="ray spreads the images over a Ray cluster, --workers processes in all, and makes --output a folder of files.",
            rich_help_panel=ENGINE_PANEL,
            show_default="local",
        ),
    ] = None,
    address: Address = None,
    part_size: Annotated[int, typer.Option(min=1, help="Images to a file of the output folder, at most.", rich_help_panel=ENGINE_PANEL)] = 1000,
) -> None:
    """Classify images with an exported model and print the most probable classes.

    Examples:  infer resnet50.onnx cat.jpg  ·  infer resnet50.onnx photos/ --recursive --output labels.jsonl --resume

    Exit code 0 when all images were classified, 1 when some failed (each has a row with its error), 2 for wrong usage, 3 when the model
    file is missing or damaged, 4 when the device is not to be had, 130 after Ctrl-C.
    """
    from torchless.batch.run import InferOptions
    from torchless.batch.run import infer as classify

    options = InferOptions(
        model=model,
        images=tuple(images),
        top_k=top_k,
        format=format,
        output=output,
        resume=resume,
        recursive=recursive,
        device=device,
        threads=threads,
        workers=workers,
        batch_size=batch_size,
        labels=labels,
        exif=exif,
        decode=(decode or Decode.EXACT).value,
        max_megapixels=max_megapixels,
        manifest=manifest,
        require_signature=require_signature,
        description=_description(resize_size, crop_size, mean, std, interpolation),
        engine=(engine or Engine.LOCAL).value,
        address=address,
        part_size=part_size,
    )
    if code := classify(options):
        raise typer.Exit(code)


@app.command(no_args_is_help=True)
def inspect(
    model: Annotated[Path, typer.Argument(help="An .onnx file.", show_default=False)],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what is in a model file: manifest, inputs, outputs, operators, parameters and layers."""
    from torchless.cli.report import inspection_text
    from torchless.model.inspection import inspect_model

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
    from torchless.cpus import available_cpus
    from torchless.image.decode import ImageOptions, take_pillow_over

    take_pillow_over(max(workers or [available_cpus()]))
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


def _description(
    resize_size: int | None,
    crop_size: int | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
) -> "Description":
    from torchless.model.artifact import Description
    from torchless.model.manifest import parse_interpolation

    return Description(
        resize_size=resize_size,
        crop_size=crop_size,
        mean=three_numbers("--mean", mean),
        std=three_numbers("--std", std),
        interpolation=parse_interpolation(interpolation) if interpolation is not None else None,
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


def main() -> None:
    """The program `torchless`: the runtime's verbs, and those that the export side registers under `torchless.commands`."""
    from importlib.metadata import entry_points

    from torchless.cli import bundle as bundle_command
    from torchless.cli import doctor as doctor_command
    from torchless.cli import evaluate as evaluate_command
    from torchless.cli import repository as repository_command
    from torchless.cli import serve as serve_command
    from torchless.cli import sign as signing_command

    evaluate_command.register(app)
    doctor_command.register(app)
    signing_command.register(app)
    serve_command.register(app)
    repository_command.register(app)
    bundle_command.register(app)
    for entry_point in entry_points(group=COMMANDS_GROUP):
        entry_point.load()(app)
    run_program(app)
