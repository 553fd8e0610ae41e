"""`torchless quantize`: parse, call quantize, print."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.process import say
from torchless_export.cli.options import NoEvidence, Recursive, beside, progress, require_onnx
from torchless_export.reduce.request import Bounds, QuantizeRequest

if TYPE_CHECKING:
    from torchless_export.reduce.quantize import Quantized


class LowPrecision(StrEnum):
    """The values of `quantize --precision`."""

    INT8 = "int8"
    FP16 = "fp16"


def quantize(
    model: Annotated[Path, typer.Argument(help="A float32 .onnx file that torchless exported.", show_default=False)],
    calibration: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="Images like those it will see, as infer takes them. Can be given several times; 100 or "
            "more; two hundred are enough.",
            show_default=False,
        ),
    ] = None,
    test_images: Annotated[
        list[str] | None,
        typer.Option(
            metavar="IMAGE",
            help="Images to compare both files' answers on; by default every second one of --calibration.",
            show_default=False,
        ),
    ] = None,
    recursive: Recursive = False,
    data: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Labelled images, as evaluate takes them: top-1 error may not rise by more than --max-error-rise.",
            show_default=False,
        ),
    ] = None,
    class_map: Annotated[
        Path | None, typer.Option(help="Which name in --data is which class, as for evaluate.", show_default=False)
    ] = None,
    precision: Annotated[LowPrecision, typer.Option(help="int8 for CPUs; fp16 for GPUs.")] = LowPrecision.INT8,
    min_agreement: Annotated[
        float, typer.Option(min=0, max=1, help="The least share of test images with the float32 file's top-1 class.")
    ] = QuantizeRequest.min_agreement,
    max_error_rise: Annotated[
        float, typer.Option(min=0, max=1, help="With --data: how much top-1 error may rise, in 0..1.")
    ] = QuantizeRequest.max_error_rise,
    weight_bits: Annotated[
        int | None,
        typer.Option(
            min=7,
            max=8,
            help="int8: 8, or 7 for processors without VNNI; by default what this one needs.",
            show_default=False,
        ),
    ] = None,
    keep_float: Annotated[
        list[str] | None,
        typer.Option(
            help="int8: a node to leave in float32; fp16: an operator type. Can be given several times.",
            show_default=False,
        ),
    ] = None,
    max_float_layers: Annotated[
        int | None,
        typer.Option(
            min=0, help="int8: how many layers the search may leave in float32; by default a third.", show_default=False
        ),
    ] = None,
    search_seconds: Annotated[
        float, typer.Option(min=0, help="int8: how long the search may measure single layers.")
    ] = Bounds.seconds,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="By default MODEL.int8.onnx, beside MODEL.", show_default=False),
    ] = None,
    no_evidence: NoEvidence = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write the file even if it is not smaller and faster here.")
    ] = False,
) -> None:
    """Make a smaller, faster file of an exported one, and prove that it gives the same answers.

    Examples:
      torchless quantize resnet50.onnx --calibration photos/
      torchless quantize resnet50.onnx --precision fp16

    Both files' answers are compared on images that took no part in making it: the share with the same top-1 class, and
    with --data the change of top-1 error, each with its interval. Layers that harm most stay in float32. infer,
    evaluate --against, compare, bench and serve take the file as any other.

    It needs no PyTorch. Exit code 0 when the file was written, 2 for wrong usage, 3 when MODEL is missing or damaged, 5
    when it decides otherwise too often, 7 when it does not pay: it is not smaller and faster on this machine (--force
    writes it anyway).
    """
    require_onnx()
    from torchless_export.reduce.images import ImageSplit
    from torchless_export.reduce.quantize import quantize as run

    request = QuantizeRequest(
        source=model,
        precision=precision.value,
        images=ImageSplit(calibration or (), test_images or (), recursive),
        data=data,
        class_map=class_map,
        min_agreement=min_agreement,
        max_error_rise=max_error_rise,
        weight_bits=7 if weight_bits == 7 else 8 if weight_bits == 8 else None,
        kept_float=tuple(keep_float or ()),
        bounds=Bounds(max_float_layers, search_seconds),
        force=force,
        evidence=not no_evidence,
    )
    say(_summary(run(request, output or beside(model, precision.value), progress=progress())))


def _summary(made: "Quantized") -> str:
    """What is printed of a file that was written."""
    from torchless.text import UNTRAINED
    from torchless_export.gate.text import table
    from torchless_export.reduce.int8 import layers_in
    from torchless_export.reduce.pace import pace_text

    manifest, reduction = made.manifest, made.manifest.reduction
    kept = reduction.kept_float if reduction is not None else ()
    if manifest.precision == "int8":
        kept = layers_in(made.path, kept)
    lines = [
        f"{made.path}  {manifest.precision}  {made.seconds:.1f} s",
        pace_text(made.pace),
        f"in float32: {', '.join(kept) or 'no layer'}",
        f"decides as the float32 file on {made.verdict.images} images:",
        table(made.verdict),
    ]
    return "\n".join([*lines, f"note: {manifest.model.name} is {UNTRAINED}"] if not manifest.is_trained else lines)
