"""export_model: the one function that tells the story. Load, convert, seal, prove, and only then let the file appear."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import onnx

from torchless.errors import UsageError
from torchless.files import atomic_path
from torchless.manifest import InputInfo, Manifest, OutputInfo, Parity, ProducedBy
from torchless_export import parity
from torchless_export.errors import ParityError
from torchless_export.layers import describe_layers
from torchless_export.seal import write_sealed
from torchless_export.sources import LoadedModel, ModelRequest, load
from torchless_export.to_onnx import BATCH_AXIS, DEFAULT_OPSET, EXPORTER, INPUT_NAME, OUTPUT_NAME, opset_of, to_onnx


@dataclass(frozen=True)
class Exported:
    """A file that passed the gate."""

    path: Path
    manifest: Manifest
    verdict: Parity
    seconds: float


def export_model(
    request: ModelRequest, output: Path, *, opset: int = DEFAULT_OPSET, report: Callable[[str], None] = lambda _: None
) -> Exported:
    """Exports a model to `output`, which appears only if it passes the gate; `report` is told what is being done, a line at a time.

    Raises UnknownModelError, WeightsError, UsageError, ExportError, or ParityError with every check's figure.
    """
    start = time.monotonic()
    _check_output(output)
    report(f"loading {request.model}")
    loaded = load(request)
    report(f"converting to ONNX, opset {opset}")
    model = to_onnx(loaded.module, loaded.preprocess.crop_size, opset=opset)
    manifest = _manifest(loaded, model)
    layers = describe_layers(loaded.module, loaded.preprocess.crop_size)
    with atomic_path(output) as temporary:
        write_sealed(model, manifest, layers, temporary)
        report("proving that it gives PyTorch's answers")
        verdict = parity.judge(loaded, temporary)
        if not verdict.passed:
            raise ParityError(_failure(output, verdict), verdict)
        manifest = replace(manifest, parity=verdict)
        write_sealed(model, manifest, layers, temporary)
    return Exported(output, manifest, verdict, time.monotonic() - start)


def _check_output(output: Path) -> None:
    """Before minutes of work, not after them."""
    if output.suffix != ".onnx":
        raise UsageError(f"the output file must end in .onnx, got {output}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(output.with_name(f"{output.name}.try")) as probe:
            probe.touch()
        output.with_name(f"{output.name}.try").unlink()
    except OSError as error:
        raise UsageError(f"cannot write to {output.parent}: {error.strerror or error}") from error


def _manifest(loaded: LoadedModel, model: onnx.ModelProto) -> Manifest:
    side = loaded.preprocess.crop_size
    return Manifest(
        model=loaded.info,
        preprocess=loaded.preprocess,
        labels=loaded.labels,
        input=InputInfo(name=INPUT_NAME, shape=(BATCH_AXIS, 3, side, side)),
        output=OutputInfo(name=OUTPUT_NAME),
        published=loaded.published,
        produced_by=_produced_by(opset_of(model)),
    )


def _produced_by(opset: int) -> ProducedBy:
    return ProducedBy(
        torchless=version("torchless"),
        torch=version("torch"),
        torchvision=version("torchvision"),
        onnx=version("onnx"),
        onnxruntime=_onnxruntime_version(),
        exporter=EXPORTER,
        opset=opset,
    )


def _onnxruntime_version() -> str:
    from torchless.session import import_onnxruntime

    return str(import_onnxruntime().__version__)


def _failure(output: Path, verdict: Parity) -> str:
    failed = ", ".join(check.name for check in verdict.checks if not check.passed)
    return f"{output} was not written: the exported model does not give PyTorch's answers (failed: {failed})\n{parity.table(verdict)}"
