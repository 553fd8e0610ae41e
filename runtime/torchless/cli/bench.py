"""The verb `torchless bench`."""

from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.options import Decode


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


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(bench)
