"""The verb `torchless bench`, and its result as text."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.cli.options import (
    MAX_MEGAPIXELS,
    Activation,
    AsJson,
    Background,
    Channels,
    Crop,
    DecodeOption,
    Device,
    Exif,
    Interpolation,
    Labels,
    ManifestFile,
    MaxMegapixels,
    Mean,
    ModelFile,
    ModelFlags,
    RequireSignature,
    Resize,
    Std,
    Threshold,
    Truncated,
    ValueRange,
    print_json,
)
from torchless.engine.options import ModelOptions
from torchless.image.options import ImageOptions
from torchless.process import say, tell
from torchless.text import columns, printable

if TYPE_CHECKING:
    from torchless.bench import BenchResult
    from torchless.timing import Timing


def bench(
    model: ModelFile,
    image: Annotated[
        Path | None,
        typer.Option(help="An image like yours; by default a generated JPEG of 500×375 pixels.", show_default=False),
    ] = None,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            "--batch-size",
            "-b",
            min=1,
            help="Try this batch size; may be repeated. By default 1 and 8.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Try this number of threads per forward pass; may be repeated. By default 1, half and all processors.",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help="Try this number of images at once; may be repeated. By default 1, and as many as fill the "
            "processors.",
            show_default=False,
        ),
    ] = None,
    device: Device = ModelOptions.device,
    labels: Labels = None,
    exif: Exif = ImageOptions.apply_exif,
    decode: DecodeOption = None,
    max_megapixels: MaxMegapixels = MAX_MEGAPIXELS,
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
    seconds: Annotated[float, typer.Option(help="How long to measure each setting.")] = 1.0,
    as_json: AsJson = False,
) -> None:
    """Measure a model on this machine: decoding, preprocessing, inference, whole folders, cold start, memory; and
    report the best setting.

    Examples:
      torchless bench resnet50.onnx
      torchless bench resnet50.onnx --image mine.jpg -b 1 -b 16

    Do not use the machine meanwhile.
    """
    from torchless.bench import bench_model
    from torchless.cpus import available_cpus
    from torchless.image.decode import take_pillow_over

    flags = ModelFlags(
        device=device,
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
    take_pillow_over(max(workers or [available_cpus()]))
    result = bench_model(
        model,
        opening=flags.parse(),
        image=image,
        batch_sizes=batch_size or (),
        threads=threads or (),
        workers=workers or (),
        seconds=seconds,
        infer_flags=flags.words(),
    )
    for warning in result.warnings:
        tell(printable(f"warning: {warning}"))
    if as_json:
        print_json(result.to_dict())
    else:
        say(bench_text(result))


def bench_text(result: "BenchResult") -> str:
    """The lines of `torchless bench`."""
    return "\n".join(_lines(result))


def _lines(result: "BenchResult") -> Iterator[str]:
    nodes = f" ({result.assignment})" if result.assignment is not None else ""
    yield f"{result.model} on {result.device}{nodes}, {result.cpus} processors; {result.image}"
    yield ""
    rows = [("one thread", "p50 ms", "p95 ms")]
    rows += [
        (name, *_timing(timing)) for name, timing in (("decode", result.decode), ("preprocess", result.preprocess))
    ]
    rows += [("cold start, whole process", *_timing(result.cold_start))]
    yield from columns(rows, "<>>")
    yield f"memory of that process, at most {result.cold_start_peak_bytes / 1e6:.0f} MB"
    yield ""
    forward = [
        (str(row.threads), str(row.batch_size), *_timing(row.timing), f"{row.images_per_second:.1f}")
        for row in result.forward
    ]
    yield from columns([("inference: threads", "batch size", "p50 ms", "p95 ms", "images/s"), *forward], "<>>>>")
    yield ""
    folder = [
        (str(row.workers), str(row.threads), str(row.batch_size), f"{row.images_per_second:.1f}")
        for row in result.folder
    ]
    yield from columns([("many images: workers", "threads", "batch size", "images/s"), *folder], "<>>>")
    yield ""
    quick, best = result.quickest, result.best
    yield f"one image soonest:  --threads {quick.threads}  ({quick.timing.p50_ms:.1f} ms a forward pass)"
    flags = f"--workers {best.workers} --threads {best.threads} --batch-size {best.batch_size}"
    yield f"most images:        {flags}  ({best.images_per_second:.1f} images/s)"


def _timing(timing: "Timing") -> tuple[str, str]:
    return f"{timing.p50_ms:.2f}", f"{timing.p95_ms:.2f}"


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(bench)
