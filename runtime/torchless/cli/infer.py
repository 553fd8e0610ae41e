"""The verb `infer`, which is a program of its own too."""

from pathlib import Path
from typing import Annotated

import typer

from torchless.batch.options import InferOptions
from torchless.batch.outputs import Format
from torchless.cli.help import new_app
from torchless.cli.options import (
    ENGINE_PANEL,
    MAX_IMAGE_MB,
    MAX_MEGAPIXELS,
    Activation,
    Address,
    Background,
    BatchSize,
    Channels,
    Crop,
    DecodeOption,
    Device,
    EngineOption,
    Exif,
    Interpolation,
    Labels,
    ManifestFile,
    MaxExpansion,
    MaxImageMb,
    MaxMegapixels,
    Mean,
    ModelFile,
    ModelFlags,
    RequireSignature,
    Resize,
    Resume,
    Std,
    Strict,
    Threads,
    Threshold,
    Timeout,
    TopK,
    Truncated,
    ValueRange,
    Version,
    Workers,
    with_max_image,
)
from torchless.cli.program import as_flags, check_order, end
from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.image.options import ImageOptions
from torchless.process import tell

_IMAGES = (
    "Image files, folders, quoted globs, .zip and .tar archives, URLs (https://, s3://, gs://), or - for "
    "one image on standard input."
)


def infer(
    model: ModelFile,
    images: Annotated[list[str], typer.Argument(help=_IMAGES, show_default=False)],
    top_k: TopK = InferOptions.top_k,
    format: Annotated[
        Format | None,
        typer.Option(
            "--format",
            "-f",
            metavar="FORMAT",
            help="table, json, jsonl, csv or parquet; by default as the name of --output says, otherwise table.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write to this file, which appears when everything is done; with --engine ray, to a folder.",
            show_default=False,
        ),
    ] = None,
    resume: Resume = False,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Include subfolders.")] = False,
    strict: Strict = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Say on stderr what the model is, what of it was assumed, and what is done to each image.",
        ),
    ] = False,
    device: Device = ModelOptions.device,
    threads: Threads = None,
    workers: Workers = None,
    batch_size: BatchSize = InferOptions.batch_size,
    labels: Labels = None,
    exif: Exif = ImageOptions.apply_exif,
    decode: DecodeOption = None,
    max_megapixels: MaxMegapixels = MAX_MEGAPIXELS,
    max_image_mb: MaxImageMb = MAX_IMAGE_MB,
    max_expansion: MaxExpansion = InferOptions.max_expansion,
    timeout: Timeout = InferOptions.timeout_s,
    truncated: Truncated = ImageOptions.truncated,
    value_range: ValueRange = None,
    background: Background = None,
    threshold: Threshold = None,
    require_signature: RequireSignature = None,
    manifest: ManifestFile = None,
    resize: Resize = None,
    crop: Crop = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    activation: Activation = None,
    engine: EngineOption = None,
    address: Address = None,
    part_size: Annotated[
        int,
        typer.Option(
            min=1, help="At most this many images per file of the output folder.", rich_help_panel=ENGINE_PANEL
        ),
    ] = InferOptions.part_size,
    version: Version = False,  # noqa: ARG001 - its callback prints it
) -> None:
    """Classify images with an exported model and print the most probable classes.

    Examples:
      infer resnet50.onnx cat.jpg
      infer resnet50.onnx photos/ --recursive --output labels.jsonl --resume

    Exit code 0 when all images were classified, 1 when some failed (each has a row with its error), 2 for wrong usage,
    3 when the model file is missing or damaged, 4 when the device is not available, 130 after Ctrl-C.
    """
    check_order("infer", model, images)
    flags = ModelFlags(
        device=device,
        threads=threads,
        labels=labels,
        exif=exif,
        decode=decode,
        max_megapixels=max_megapixels,
        truncated=truncated,
        value_range=value_range,
        background=background,
        threshold=threshold,
        require_signature=require_signature,
        manifest=manifest,
        resize=resize,
        crop=crop,
        channels=channels,
        mean=mean,
        std=std,
        interpolation=interpolation,
        activation=activation,
    )
    options = InferOptions(
        model=model,
        images=tuple(images),
        top_k=top_k,
        format=format,
        output=output,
        resume=resume,
        recursive=recursive,
        strict=strict,
        explain=(lambda text: tell(as_flags(text))) if explain else None,
        opening=with_max_image(flags.parse(), max_image_mb),
        workers=workers,
        batch_size=batch_size,
        engine=engine.value if engine is not None else InferOptions.engine,
        address=address,
        part_size=part_size,
        max_expansion=max_expansion,
        timeout_s=timeout,
    )
    if options.engine == "ray" and explain:
        raise UsageError("--explain is for images that this process classifies: leave out --engine ray")
    if options.engine == "ray":
        from torchless.ray.batch import infer_on_ray as run
    else:
        from torchless.batch.run import infer as run
    end(run(options))


def register(app: typer.Typer) -> None:
    """Adds the verb to a program."""
    app.command(no_args_is_help=True)(infer)


infer_app = new_app()
register(infer_app)
