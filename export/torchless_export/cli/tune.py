"""`torchless tune`: parse, call tune, print."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from torchless_export.cli.options import Recursive, beside, progress, require_torch


class GoalChoice(StrEnum):
    """The values of `tune --goal`."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


def tune(
    model: Annotated[Path, typer.Argument(help="A float32 .onnx file that torchless exported.", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Option(help="Images like those it will see: half calibrate the int8 file, half judge it.", show_default=False),
    ] = None,
    recursive: Recursive = False,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="The least share of judging images with the float32 file's top-1 class.")
    ] = 0.95,
    goal: Annotated[GoalChoice, typer.Option(help="latency: one image soonest; throughput: most images a second.")] = GoalChoice.LATENCY,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Batch sizes to try; by default 1 and 8.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default MODEL.tuned.onnx, beside MODEL.", show_default=False)
    ] = None,
) -> None:
    """Find the fastest of float32 and int8, thread counts and batch sizes on this machine, and seal it.

    Example:  torchless tune resnet50.onnx --images photos/ --min-agreement 0.99

    The file that is written is the fastest of those that decide as MODEL does, with the best settings in its manifest: torchless inspect shows
    them, and infer and serve take them as flags. float16 is for GPUs, and not tried on a CPU.

    Exit code 0 when the file was written, 2 for wrong usage, 3 when MODEL is missing or damaged.
    """
    require_torch()
    from torchless_export.reduce.images import Images
    from torchless_export.reduce.tune import tune as run
    from torchless_export.reduce.tune import tuned_text

    tuned = run(
        model,
        Images(images or (), (), recursive),
        output or beside(model, "tuned"),
        min_agreement=min_agreement,
        goal=goal.value,
        batch_sizes=batch_size or (1, 8),
        report=progress(),
    )
    typer.echo(tuned_text(tuned))
