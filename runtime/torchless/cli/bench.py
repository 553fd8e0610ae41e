"""The verb `torchless bench`."""

from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.options import AsJson, Decode, DecodeOption, Device, ModelFile, print_json


def bench(
    model: ModelFile,
    image: Annotated[
        Path | None, typer.Option(help="An image like yours; by default a made-up JPEG of 500×375 pixels.", show_default=False)
    ] = None,
    batch_size: Annotated[
        list[int] | None, typer.Option("--batch-size", "-b", min=1, help="Try this batch size; may be repeated.", show_default="1 and 8")
    ] = None,
    threads: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Try this number of threads per forward pass; may be repeated.", show_default="1, half and all processors"),
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=1, help="Try this number of images at once; may be repeated.", show_default="1, and as many as fill the processors"),
    ] = None,
    device: Device = "auto",
    decode: DecodeOption = None,
    seconds: Annotated[float, typer.Option(help="How long to measure each setting.")] = 1.0,
    as_json: AsJson = False,
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
        print_json(report.to_dict())
    else:
        typer.echo(bench_text(report))


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(bench)
