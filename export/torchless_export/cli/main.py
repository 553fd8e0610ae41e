"""The export verbs of the `torchless` program. Nothing of torch is imported before a verb runs."""

import os
import time
from collections.abc import Callable
from enum import StrEnum
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from torchless.cli.options import three_numbers
from torchless.errors import MissingDependencyError, UsageError
from torchless_export.cli.compare import compare
from torchless_export.cli.quantize import (
    CalibrationOption,
    ForceOption,
    JudgeOption,
    check_precision_options,
    quantize,
    reduced_path,
    tune,
    write_reduced,
)

if TYPE_CHECKING:
    from torchless_export.export import Exported
    from torchless_export.verify import Verification

_NEEDED = ("torch", "torchvision", "onnx", "onnxscript")
_DEFAULT_FOLDER = Path("artifacts")


_PREPROCESSING: dict[str, Any] = {"rich_help_panel": "Preprocessing, where it is not that of torchvision's weights", "show_default": False}


_IN_GRAPH = "For programs without torchless (docs/in-graph.md)"


class SortKey(StrEnum):
    """The values of --sort."""

    NAME = "name"
    ACC1 = "acc@1"
    PARAMS = "params"
    GFLOPS = "gflops"
    SIZE = "size"


class ExporterChoice(StrEnum):
    """The values of --exporter."""

    AUTO = "auto"
    DYNAMO = "dynamo"
    TORCHSCRIPT = "torchscript"


class Layout(StrEnum):
    """The values of --layout."""

    FILE = "file"
    TRITON = "triton"


class PrecisionChoice(StrEnum):
    """The values of `export --precision`."""

    FP32 = "fp32"
    INT8 = "int8"
    FP16 = "fp16"


def register(app: typer.Typer) -> None:
    """Adds the verbs to the program; called through the entry-point group `torchless.commands`."""
    app.command(no_args_is_help=True)(export)
    app.command(no_args_is_help=True)(quantize)
    app.command(no_args_is_help=True)(tune)
    app.command(no_args_is_help=True)(verify)
    app.command()(models)
    app.command(no_args_is_help=True)(compare)


def export(
    model: Annotated[
        str, typer.Argument(help="A torchvision classifier, such as resnet50; with --builder, the artifact's name.", show_default=False)
    ],
    weights: Annotated[str, typer.Option(help="DEFAULT, a name such as IMAGENET1K_V1, or none: random weights, marked untrained.")] = "DEFAULT",
    checkpoint: Annotated[
        Path | None, typer.Option(help="A state dict to load instead: .pth, .pt or .safetensors. No code in it is run.", show_default=False)
    ] = None,
    builder: Annotated[
        str | None,
        typer.Option(
            help="package.module:function, which returns (nn.Module, preprocessing, labels), for any other model.", show_default=False
        ),
    ] = None,
    checkpoint_key: Annotated[
        str | None,
        typer.Option(help="Which of several state dicts in it; by default an averaged one (EMA) first.", show_default=False),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="A text file with the classes' names, one a line.", show_default=False)] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="By default read from the checkpoint.", show_default=False)] = None,
    image_size: Annotated[int | None, typer.Option(min=1, help="The side of the centre crop, in pixels.", **_PREPROCESSING)] = None,
    resize_size: Annotated[
        int | None, typer.Option(min=1, help="The short side to resize to; by default in proportion to the image size.", **_PREPROCESSING)
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Of red, green and blue in 0..1, as 0.485,0.456,0.406.", **_PREPROCESSING)] = None,
    std: Annotated[str | None, typer.Option(help="Of red, green and blue in 0..1, as 0.229,0.224,0.225.", **_PREPROCESSING)] = None,
    interpolation: Annotated[str | None, typer.Option(help="bilinear, bicubic, ….", **_PREPROCESSING)] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="By default artifacts/MODEL.onnx, or MODEL-in-graph.onnx.", show_default=False)
    ] = None,
    layout: Annotated[
        Layout, typer.Option(help="triton makes --output a model repository of Triton Inference Server (see torchless repository).")
    ] = Layout.FILE,
    opset: Annotated[int, typer.Option(min=18, max=20, help="The version of ONNX's operators to write.")] = 20,
    exporter: Annotated[
        ExporterChoice, typer.Option(help="Which of torch's exporters; auto takes the second where the first fails or fails the gate.")
    ] = ExporterChoice.AUTO,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="With --weights none: seeds the random weights.")] = 0,
    preprocess_in_graph: Annotated[
        bool,
        typer.Option(
            "--preprocess-in-graph",
            help="Take an image's pixels, uint8 (height, width, 3), and resize, crop and normalise inside ONNX: for C++, C#, Java, JavaScript.",
            rich_help_panel=_IN_GRAPH,
        ),
    ] = False,
    topk_in_graph: Annotated[
        int | None,
        typer.Option(
            min=1, help="Also give the so many best classes: probabilities, numbers and labels.", rich_help_panel=_IN_GRAPH, show_default=False
        ),
    ] = None,
    precision: Annotated[
        PrecisionChoice, typer.Option(help="int8 or fp16: make MODEL.int8.onnx or MODEL.fp16.onnx too, as quantize does; see its --help.")
    ] = PrecisionChoice.FP32,
    calibration: CalibrationOption = None,
    judge: JudgeOption = None,
    force: ForceOption = False,
) -> None:
    """Export a classifier to one ONNX file, and prove that the file gives PyTorch's answers.

    Examples:  torchless export resnet50  ·  torchless export resnet18 --checkpoint mine.pth --labels mine.txt --image-size 64

    The file appears only if it passes every check of the parity gate. Exit code 0 when it did, 2 for wrong usage, 5 when it does not give
    PyTorch's answers, 6 when the weights cannot be had.
    """
    require_torch()
    check_precision_options(precision.value, calibration, judge)
    from torchless.model.manifest import PreprocessChanges, parse_interpolation
    from torchless_export.export import export_model
    from torchless_export.in_graph.build import InGraph
    from torchless_export.sources.load import ModelRequest

    changes = PreprocessChanges(
        image_size=image_size,
        resize_size=resize_size,
        mean=three_numbers("--mean", mean),
        std=three_numbers("--std", std),
        interpolation=parse_interpolation(interpolation) if interpolation is not None else None,
    )
    request = ModelRequest(
        model=model,
        weights=weights,
        checkpoint=checkpoint,
        checkpoint_key=checkpoint_key,
        builder=builder,
        labels=labels,
        num_classes=num_classes,
        changes=changes,
        seed=seed,
    )
    if topk_in_graph is not None and not preprocess_in_graph:
        raise UsageError("--topk-in-graph goes with --preprocess-in-graph")
    if precision is not PrecisionChoice.FP32 and (layout is Layout.TRITON or preprocess_in_graph):
        raise UsageError("--precision makes a second file of a plain export; it goes with neither --layout triton nor --preprocess-in-graph")
    in_graph = InGraph(top_k=topk_in_graph) if preprocess_in_graph else None
    name = f"{model}{'-in-graph' * preprocess_in_graph}"
    make = partial(export_model, request, exporter=exporter.value, opset=opset, in_graph=in_graph, report=reporter())
    if layout is Layout.TRITON:
        from torchless_export.layout import export_to_repository

        exported = export_to_repository(make, name, output or _DEFAULT_FOLDER / "triton")
    else:
        exported = make(output or _DEFAULT_FOLDER / f"{name}.onnx")
    typer.echo(_summary(exported))
    if precision is not PrecisionChoice.FP32:
        from torchless_export.reduce.images import Images
        from torchless_export.reduce.reduce import ReduceRequest

        images = Images(calibration or (), judge or ())
        low: Literal["int8", "fp16"] = "int8" if precision is PrecisionChoice.INT8 else "fp16"
        reduction = ReduceRequest(source=exported.path, precision=low, images=images, force=force)
        write_reduced(reduction, reduced_path(exported.path, low))


def verify(
    model: Annotated[Path, typer.Argument(help="An .onnx file that torchless exported.", show_default=False)],
    images: Annotated[
        list[str] | None, typer.Option(help="Your own images: what infer takes. Can be given several times.", show_default=False)
    ] = None,
    recursive: Annotated[bool, typer.Option("--recursive", "-r", help="Look into the subfolders of folders too.")] = False,
    device: Annotated[
        str, typer.Option("--device", "-d", help="Where ONNX Runtime runs: cpu, cuda, cuda:N or auto. PyTorch runs on the CPU.")
    ] = "cpu",
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="The checkpoint it was exported from; by default looked for by its name, beside MODEL and here.", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The labels file it was exported with; looked for in the same way.", show_default=False)
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Write all of it to this HTML file: figures, limits, and every image's answers.", show_default=False)
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Prove an exported file once more: build the PyTorch model again, and run the whole gate, on your own images too.

    Examples:  torchless verify resnet50.onnx --images photos/  ·  torchless verify resnet50.onnx --report report.html

    It calls the builder that the file names, if one made it: do not verify files of people you do not trust.

    Exit code 0 when the file gives PyTorch's answers, 1 when it does but some of your images could not be read, 2 for wrong usage, 3 when the
    file is missing or damaged, 4 when the device is not to be had, 5 when it fails a check, 6 when the weights cannot be had again.
    """
    require_torch()
    from torchless_export.verify import verify as run

    if report is not None and not os.path.isdir(report.parent):
        raise UsageError(f"cannot write {report}: there is no folder {report.parent}")
    found = run(model, images=images or (), recursive=recursive, device=device, checkpoint=checkpoint, labels=labels)
    for line in (*found.notes, *(f"not read: {line}" for line in found.unreadable)):
        typer.echo(line, err=True)
    typer.echo(_as_json(found) if as_json else _verification_text(found))
    if report is not None:
        from torchless_export.gate.page import write_page

        write_page(found, report)
    if not found.verdict.passed:
        raise typer.Exit(5)
    if found.unreadable:
        raise typer.Exit(1)


def models(
    filter: Annotated[str | None, typer.Option(help="Only those with this text in their name.", show_default=False)] = None,
    sort: Annotated[SortKey, typer.Option(help="acc@1: the best first; the others: the smallest first.")] = SortKey.NAME,
    max_size_mb: Annotated[float | None, typer.Option(help="Only files of weights up to this size.", show_default=False)] = None,
    min_acc1: Annotated[float | None, typer.Option(help="Only those with this top-1 accuracy or more, in percent.", show_default=False)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List torchvision's classifiers and their weights, with what torchvision publishes of them.

    Example:  torchless models --min-acc1 75 --max-size-mb 50 --sort size
    """
    require_torch()
    from torchless_export.cli.listing import select, text

    selected = select(filter=filter, sort=sort.value, max_size_mb=max_size_mb, min_acc1=min_acc1)
    if as_json:
        import json

        typer.echo(json.dumps([entry.to_dict() for entry in selected], indent=2))
    else:
        typer.echo(text(selected))


def require_torch() -> None:
    """Raises MissingDependencyError without what exporting needs."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"this command needs {', '.join(missing)}; install: pip install 'torchless[export]'")


def reporter() -> Callable[[str], None]:
    """Tells on stderr what is being done, and since when."""
    start = time.monotonic()

    def report(line: str) -> None:
        typer.echo(f"[{time.monotonic() - start:5.1f} s] {line}", err=True)

    return report


def _verification_text(found: "Verification") -> str:
    from torchless.text import UNTRAINED
    from torchless_export.gate import explain, metrics_table

    parity, manifest = found.verdict.parity, found.artifact.manifest
    lines = [
        f"{found.artifact.path}: parity {'passed' if parity.passed else 'FAILED'} on {parity.images} images",
        explain(found.verdict),
        *([metrics_table(parity.metrics)] if parity.metrics else []),
    ]
    if parity.reason is not None:
        lines.append(f"judged without float64: {parity.reason}")
    if found.tf32_metrics:
        lines += ["with TF32, which is off for the verdict:", metrics_table(found.tf32_metrics)]
    return "\n".join([*lines, f"note: {manifest.model.name} is {UNTRAINED}"] if not manifest.is_trained else lines)


def _as_json(found: "Verification") -> str:
    import json

    from torchless.model.codec import encode, finite

    departure = found.verdict.departure
    document = {
        "file": str(found.artifact.path),
        "parity": encode(found.verdict.parity),
        "departure": encode(departure) if departure is not None else None,
        "tf32_metrics": encode(found.tf32_metrics),
        "unreadable": found.unreadable,
    }
    return json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False)


def _summary(exported: "Exported") -> str:
    from torchless.text import UNTRAINED, megabytes
    from torchless_export.gate import table

    manifest, verdict = exported.manifest, exported.verdict
    made, data = manifest.produced_by, f" + {manifest.files.data}" if manifest.files is not None else ""
    lines = [
        f"{exported.path}{data}  {megabytes(exported.size)}  opset {made.opset if made else '?'}  {exported.seconds:.1f} s",
        f"parity passed on {verdict.images} images:",
        table(verdict),
    ]
    return "\n".join([*lines, f"note: {manifest.model.name} is {UNTRAINED}"] if not manifest.is_trained else lines)
