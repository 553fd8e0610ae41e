"""The export verbs of the `torchless` program. Nothing of torch is imported before a verb runs."""

import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.errors import MissingDependencyError

if TYPE_CHECKING:
    from torchless_export.export import Exported

_NEEDED = ("torch", "torchvision", "onnx", "onnxscript")
_DEFAULT_FOLDER = Path("artifacts")


def register(app: typer.Typer) -> None:
    """Adds the verbs to the program; called through the entry-point group `torchless.commands`."""
    app.command(no_args_is_help=True)(export)


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
    labels: Annotated[Path | None, typer.Option(help="A text file with the classes' names, one a line.", show_default=False)] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="By default artifacts/MODEL.onnx.", show_default=False)] = None,
    opset: Annotated[int, typer.Option(min=18, max=21, help="The version of ONNX's operators to write.")] = 20,
    seed: Annotated[int, typer.Option(min=0, help="With --weights none: seeds the random weights.")] = 0,
) -> None:
    """Export a classifier to one ONNX file, and prove that the file gives PyTorch's answers.

    Examples:  torchless export resnet50  ·  torchless export resnet18 --checkpoint mine.pth --labels mine.txt

    The file appears only if it passes every check of the parity gate. Exit code 0 when it did, 2 for wrong usage, 5 when it does not give
    PyTorch's answers, 6 when the weights cannot be had.
    """
    _require_torch()
    from torchless_export.export import export_model
    from torchless_export.sources import ModelRequest

    request = ModelRequest(model=model, weights=weights, checkpoint=checkpoint, builder=builder, labels=labels, seed=seed)
    exported = export_model(request, output or _DEFAULT_FOLDER / f"{model}.onnx", opset=opset, report=_reporter())
    typer.echo(_summary(exported))


def _require_torch() -> None:
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f"this command needs {', '.join(missing)}; install: pip install 'torchless[export]'")


def _reporter() -> Callable[[str], None]:
    start = time.monotonic()

    def report(line: str) -> None:
        typer.echo(f"[{time.monotonic() - start:5.1f} s] {line}", err=True)

    return report


def _summary(exported: "Exported") -> str:
    from torchless.report import UNTRAINED, megabytes
    from torchless_export.parity import table

    manifest, verdict = exported.manifest, exported.verdict
    opset = manifest.produced_by.opset if manifest.produced_by is not None else None
    lines = [
        f"{exported.path}  {megabytes(exported.path.stat().st_size)}  opset {opset}  {exported.seconds:.1f} s",
        f"parity passed on {verdict.images} images:",
        table(verdict),
    ]
    return "\n".join([*lines, f"note: {manifest.model.name} is {UNTRAINED}"] if not manifest.is_trained else lines)
