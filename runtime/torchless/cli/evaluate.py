"""The verb `torchless evaluate`: parse, call the library, print."""

from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.options import (
    MAX_IMAGE_MB,
    MAX_MEGAPIXELS,
    Activation,
    Background,
    BatchSize,
    Channels,
    Crop,
    DecodeOption,
    Device,
    Exif,
    Interpolation,
    Labels,
    ManifestFile,
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
    Truncated,
    ValueRange,
    Workers,
    print_json,
    with_max_image,
)
from torchless.cli.program import check_order, end
from torchless.engine.options import ModelOptions
from torchless.evaluate.options import EvaluateOptions
from torchless.image.options import ImageOptions
from torchless.process import say

_DATA = (
    "A folder with a folder of images for each class; or a .csv or .jsonl list with the columns image, and "
    "label or index; for a multi-label model a list with all classes of each image."
)
_CLASS_MAP = (
    "Which folder or label is which class, if they are not the model's labels: a .json object, or one "
    "name per line, that of class 0 first."
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
        int | None,
        typer.Option(
            min=1,
            help="Use only this many images, drawn at random; the same ones each time. By default all.",
            show_default=False,
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(help="Another .onnx file: is one of the two really better? (McNemar's test)", show_default=False),
    ] = None,
    confusion_matrix: Annotated[
        Path | None,
        typer.Option(
            help="Draw it, for up to 50 classes: .png, .svg or .pdf. Needs matplotlib (extra: compare).",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON, with every class, confusion and failed image.")
    ] = False,
    output: Annotated[Path | None, typer.Option("--output", "-o", help=_ROWS, show_default=False)] = None,
    resume: Resume = False,
    strict: Strict = False,
    device: Device = ModelOptions.device,
    threads: Threads = None,
    workers: Workers = None,
    batch_size: BatchSize = EvaluateOptions.batch_size,
    labels: Labels = None,
    exif: Exif = ImageOptions.apply_exif,
    decode: DecodeOption = None,
    max_megapixels: MaxMegapixels = MAX_MEGAPIXELS,
    max_image_mb: MaxImageMb = MAX_IMAGE_MB,
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
) -> None:
    """Measure top-1 and top-5 error on labelled images, with 95 % intervals; the worst classes, the confusions, the
    calibration.

    DATA is a folder of class folders, named by the model's labels or by ImageNet's 1,000 WordNet ids; or a list, .csv
    or .jsonl, with the columns image (from the list's own folder) and label or index. docs/evaluate.md says how every
    figure is computed.

    Multi-label models get mean average precision and F1 with intervals instead, from a list with all classes of each
    image: a column labels with | between them, several lines for an image, or a column of 0 and 1 for each class.

    Examples:
      torchless evaluate resnet50.onnx imagenet/val --limit 5000
      torchless evaluate mine.onnx test.csv --against other.onnx

    Exit code 0 when all images were evaluated, 1 when some failed (they are named, and no figure includes them);
    otherwise as for infer.
    """
    from torchless.evaluate.run import evaluate_models
    from torchless.evaluate.tally import Evaluation
    from torchless.evaluate.text import findings_text

    check_order("torchless evaluate", model, [data])
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
    options = EvaluateOptions(
        model=model,
        data=data,
        class_map=class_map,
        limit=limit,
        against=against,
        confusion_matrix=confusion_matrix,
        output=output,
        resume=resume,
        strict=strict,
        opening=with_max_image(flags.parse(), max_image_mb),
        workers=workers,
        batch_size=batch_size,
    )
    outcome, found = evaluate_models(options)
    if found is not None:
        if as_json:
            print_json(found.to_dict())
        else:
            say(findings_text(found))
        first = found.evaluations[0]
        if confusion_matrix is not None and isinstance(first, Evaluation):
            from torchless.evaluate.confusion_matrix import draw_confusion_matrix

            draw_confusion_matrix(first, confusion_matrix, f"{model.name} on {data}")
    hint = "; with `output` FILE what is done would be kept, and `resume` would continue from there"
    noun = "answers" if outcome.interrupted else "images"  # two models may have got through different numbers of images
    end(outcome, noun=noun, hint=hint, failures_printed=True)
