"""The verb `infer`, which is a program of its own too."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.batch.outputs import Format
from torchless.cli.options import ENGINE_PANEL, WITHOUT_MANIFEST, Address, Decode, Engine, description, new_app

if TYPE_CHECKING:
    from torchless.batch.run import InferOptions

_IMAGES = "Image files, folders, quoted globs, .zip and .tar archives, URLs (https://, s3://, gs://), or - for one image on standard input."


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
        Path | None, typer.Option(help="A JSON file that holds one.", rich_help_panel=WITHOUT_MANIFEST, show_default=False)
    ] = None,
    resize_size: Annotated[
        int | None, typer.Option(min=1, help="The short side to resize to, in pixels.", rich_help_panel=WITHOUT_MANIFEST, show_default=False)
    ] = None,
    crop_size: Annotated[
        int | None,
        typer.Option(
            min=1, help="The side of the centre crop, in pixels; by default the graph's.", rich_help_panel=WITHOUT_MANIFEST, show_default=False
        ),
    ] = None,
    mean: Annotated[
        str | None,
        typer.Option(help="Of red, green and blue in 0..1, as 0.485,0.456,0.406.", rich_help_panel=WITHOUT_MANIFEST, show_default=False),
    ] = None,
    std: Annotated[
        str | None,
        typer.Option(help="Of red, green and blue in 0..1, as 0.229,0.224,0.225.", rich_help_panel=WITHOUT_MANIFEST, show_default=False),
    ] = None,
    interpolation: Annotated[
        str | None, typer.Option(help="bilinear, bicubic, …; by default bilinear.", rich_help_panel=WITHOUT_MANIFEST, show_default=False)
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
        description=description(resize_size, crop_size, mean, std, interpolation),
        engine=(engine or Engine.LOCAL).value,
        address=address,
        part_size=part_size,
    )
    if code := _run(options):
        raise typer.Exit(code)


def _run(options: "InferOptions") -> int:
    if options.engine == "ray":
        from torchless.ray.batch import infer_on_ray

        return infer_on_ray(options)
    from torchless.batch.run import infer as classify

    return classify(options)


def register(app: typer.Typer) -> None:
    """Adds the verb to a program."""
    app.command(no_args_is_help=True)(infer)


infer_app = new_app()
register(infer_app)
