"""`torchless quantize`, and what `torchless export --precision` adds to an export. Nothing heavy is imported before a verb runs."""

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.errors import UsageError

if TYPE_CHECKING:
    from torchless_export.reduce.reduce import Reduced, ReduceRequest

Report = Callable[[str], None]

CalibrationOption = Annotated[
    list[str] | None,
    typer.Option(
        help="Images like those it will see: what infer takes. Can be given several times. A hundred or two are enough.", show_default=False
    ),
]
JudgeOption = Annotated[
    list[str] | None,
    typer.Option(help="Other images, to judge by; by default every second one of --calibration judges instead.", show_default=False),
]
ForceOption = Annotated[bool, typer.Option("--force", help="Write the file even if it is not smaller and faster here.")]


class LowPrecision(StrEnum):
    """The values of `quantize --precision`."""

    INT8 = "int8"
    FP16 = "fp16"


def quantize(
    model: Annotated[Path, typer.Argument(help="A float32 .onnx file that torchless exported.", show_default=False)],
    calibration: CalibrationOption = None,
    judge: JudgeOption = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into the subfolders of folders too.")] = False,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labelled images, as evaluate takes them: top-1 error may not rise by more than --max-error-rise.", show_default=False
        ),
    ] = None,
    class_map: Annotated[Path | None, typer.Option(help="Which name in --data is which class, as for evaluate.", show_default=False)] = None,
    precision: Annotated[LowPrecision, typer.Option(help="int8 for CPUs; fp16 for GPUs.")] = LowPrecision.INT8,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="The least share of judging images with the float32 file's top-1 class.")
    ] = 0.95,
    max_error_rise: Annotated[float, typer.Option(min=0, max=1, help="With --data: how much top-1 error may rise, in 0..1.")] = 0.01,
    weight_bits: Annotated[
        int | None,
        typer.Option(min=7, max=8, help="int8: 8, or 7 for processors without VNNI; by default what this one needs.", show_default=False),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(help="int8: a node to leave in float32; fp16: an operator type. Can be given several times.", show_default=False),
    ] = None,
    max_float_layers: Annotated[
        int | None, typer.Option(min=0, help="int8: how many layers the search may leave in float32; by default a third.", show_default=False)
    ] = None,
    search_seconds: Annotated[float, typer.Option(min=0, help="int8: how long the search may measure single layers.")] = 300,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="By default MODEL.int8.onnx, beside MODEL.", show_default=False)] = None,
    force: ForceOption = False,
) -> None:
    """Make a smaller, faster file of an exported one, and prove that it decides alike.

    Examples:  torchless quantize resnet50.onnx --calibration photos/  ·  torchless quantize resnet50.onnx --precision fp16

    Images that took no part in making it judge it: the share with the same top-1 class, and with --data the change of top-1 error, each with
    its interval. Layers that harm most stay in float32. infer, evaluate --against, compare, bench and serve take the file as any other.

    Exit code 0 when the file was written, 2 for wrong usage, 3 when MODEL is missing or damaged, 5 when it decides otherwise too often, or is
    not smaller and faster on this machine (--force writes it then).
    """
    from torchless_export.cli.main import require_torch

    require_torch()
    from torchless_export.reduce.images import Images
    from torchless_export.reduce.reduce import ReduceRequest
    from torchless_export.reduce.search import Bounds

    request = ReduceRequest(
        source=model,
        precision=precision.value,
        images=Images(calibration or (), judge or (), recursive),
        data=data,
        class_map=class_map,
        min_agreement=min_agreement,
        max_error_rise=max_error_rise,
        weight_bits=7 if weight_bits == 7 else 8 if weight_bits == 8 else None,
        kept_float=tuple(keep_float or ()),
        bounds=Bounds(max_float_layers, search_seconds),
        force=force,
    )
    write_reduced(request, output or reduced_path(model, precision.value))


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
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into the subfolders of folders too.")] = False,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="The least share of judging images with the float32 file's top-1 class.")
    ] = 0.95,
    goal: Annotated[GoalChoice, typer.Option(help="latency: one image soonest; throughput: most images a second.")] = GoalChoice.LATENCY,
    batch_size: Annotated[list[int] | None, typer.Option(min=1, help="Batch sizes to try; by default 1 and 8.", show_default=False)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default MODEL.tuned.onnx, beside MODEL.", show_default=False)
    ] = None,
) -> None:
    """Find what is fastest on this machine: float32 or int8, how many threads, which batch size; and seal it.

    Example:  torchless tune resnet50.onnx --images photos/ --min-agreement 0.99

    The file that is written is the fastest of those that decide as MODEL does, with the best settings in its manifest: torchless inspect shows
    them, and infer and serve take them as flags. float16 is for GPUs, and not tried on a CPU.

    Exit code 0 when the file was written, 2 for wrong usage, 3 when MODEL is missing or damaged.
    """
    from torchless_export.cli.main import reporter, require_torch

    require_torch()
    from torchless_export.reduce.images import Images
    from torchless_export.reduce.tune import tune as run
    from torchless_export.reduce.tune import tuned_text

    tuned = run(
        model,
        Images(images or (), (), recursive),
        output or reduced_path(model, "tuned"),
        min_agreement=min_agreement,
        goal=goal.value,
        batch_sizes=batch_size or (1, 8),
        report=reporter(),
    )
    typer.echo(tuned_text(tuned))


def reduced_path(model: Path, precision: str) -> Path:
    """resnet50.onnx → resnet50.int8.onnx."""
    return model.with_name(f"{model.stem}.{precision}.onnx")


def write_reduced(request: "ReduceRequest", output: Path) -> None:
    """Makes the file, telling what it does on stderr and what came of it on stdout."""
    from torchless_export.cli.main import reporter
    from torchless_export.reduce.reduce import reduce_model

    typer.echo(summary(reduce_model(request, output, report=reporter())))


def check_precision_options(precision: str, calibration: list[str] | None, judge: list[str] | None) -> None:
    """Raises UsageError for options of `export` that go with a precision that was not asked for."""
    if precision == "fp32" and (calibration or judge):
        raise UsageError("--calibration and --judge go with --precision int8 or fp16")
    if precision == "int8" and not calibration:
        raise UsageError("int8 takes images to calibrate on, like those it will see: --calibration FOLDER")


def summary(reduced: "Reduced") -> str:
    """What is printed of a file that was written."""
    from torchless.text import UNTRAINED
    from torchless_export.gate import table
    from torchless_export.reduce.pace import pace_text

    manifest, made = reduced.manifest, reduced.manifest.reduction
    kept = made.kept_float if made is not None else ()
    lines = [
        f"{reduced.path}  {manifest.precision}  {reduced.seconds:.1f} s",
        pace_text(reduced.pace),
        f"in float32: {', '.join(kept) if kept else 'no layer'}",
        f"decides as the float32 file on {reduced.verdict.images} images:",
        table(reduced.verdict),
    ]
    return "\n".join([*lines, f"note: {manifest.model.name} is {UNTRAINED}"] if not manifest.is_trained else lines)
