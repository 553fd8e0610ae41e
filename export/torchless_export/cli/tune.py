"""`torchless tune`: parse, call tune, print."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.process import say
from torchless.text import columns
from torchless_export.cli.options import Recursive, beside, progress, require_onnx
from torchless_export.reduce.request import TuneRequest

if TYPE_CHECKING:
    from torchless_export.reduce.tune import Tuned


class GoalChoice(StrEnum):
    """The values of `tune --goal`."""

    LATENCY = "latency"
    THROUGHPUT = "throughput"


_DEFAULT_GOAL = GoalChoice(TuneRequest.goal)


def tune(
    model: Annotated[Path, typer.Argument(help="A float32 .onnx file that torchless exported.", show_default=False)],
    images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="Images like those it will see: half calibrate the int8 file, half are test images; 100 or more.",
            show_default=False,
        ),
    ] = None,
    recursive: Recursive = False,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="The least share of test images with the float32 file's top-1 class.")
    ] = TuneRequest.min_agreement,
    goal: Annotated[
        GoalChoice,
        typer.Option(help="latency: the shortest time for one image; throughput: the most images per second."),
    ] = _DEFAULT_GOAL,
    batch_size: Annotated[
        list[int] | None,
        typer.Option(
            min=1,
            help=f"Batch sizes to try; by default {' and '.join(map(str, TuneRequest.batch_sizes))}.",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="By default MODEL.tuned.onnx, beside MODEL.", show_default=False),
    ] = None,
) -> None:
    """Find the fastest of float32 and int8, thread counts and batch sizes on this machine, and seal it.

    Example:
      torchless tune resnet50.onnx --images photos/ --min-agreement 0.99

    On processors of ARM with BF16 the float32 file is tried with products in bfloat16 too (--device cpu,bf16). The file
    that is written is the fastest of those that decide as MODEL does, with the best settings in its manifest:
    torchless inspect shows them, and infer and serve take them as flags. float16 is for GPUs, and not tried on a CPU.
    It needs no PyTorch: run it where the model will run.

    Exit code 0 when the file was written, 2 for wrong usage, 3 when MODEL is missing or damaged.
    """
    require_onnx()
    from torchless_export.reduce.images import ImageSplit
    from torchless_export.reduce.tune import tune as run

    request = TuneRequest(
        source=model,
        images=ImageSplit(images or (), recursive=recursive, parameter="images"),
        min_agreement=min_agreement,
        goal=goal.value,
        batch_sizes=tuple(batch_size or TuneRequest.batch_sizes),
    )
    say(_text(run(request, output or beside(model, "tuned"), progress=progress())))


def _text(tuned: "Tuned") -> str:
    """The table of what was tried, and the best."""
    rows = [("precision", "threads", "batch size", "ms", "images/s")]
    rows += [
        (
            row.precision,
            str(row.threads),
            str(row.batch_size),
            f"{row.ms:.2f}",
            f"{row.images_per_second:.1f}",
        )
        for row in tuned.tried
    ]
    best = tuned.best
    device = f"--device {best.device} " if best.device != "cpu" else ""
    found = (
        f"best: {best.precision}, {device}--threads {best.threads} --batch-size {best.batch_size}; written to "
        f"{tuned.path} with these settings inside"
    )
    same = {f"{row.precision}: same top-1 as float32 on {row.agreement}": None for row in tuned.tried if row.agreement}
    return "\n".join([*columns(rows, "<>>>>"), *same, *tuned.refused, found])
