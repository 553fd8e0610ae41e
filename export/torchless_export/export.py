"""export_model: the one function that tells the story. Load, convert, seal, prove, and only then let the file appear."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import onnx

from torchless.doctor.machine import versions
from torchless.engine.session import import_onnxruntime
from torchless.errors import UsageError
from torchless.model.artifact import read_artifact
from torchless.model.inspection import Layer
from torchless.model.manifest import InputInfo, Manifest, OutputInfo, Parity, ProducedBy
from torchless_export import gate as parity
from torchless_export.convert.layers import describe_layers
from torchless_export.convert.to_onnx import BATCH_AXIS, DEFAULT_OPSET, EXPORTERS, INPUT_NAME, OUTPUT_NAME, Exporter, opset_of, to_onnx
from torchless_export.convert.write import staged, write_model, write_sealed
from torchless_export.errors import ExportError, ParityError
from torchless_export.in_graph.build import InGraph, check_in_graph, put_in_graph
from torchless_export.sources.load import LoadedModel, ModelRequest, load

Report = Callable[[str], None]
Write = Callable[..., tuple[onnx.ModelProto, Manifest, tuple[Layer, ...]]]  # write_unproved with its options but for the exporter


@dataclass(frozen=True)
class Exported:
    """A file that passed the gate; `size` is in bytes, with the data file beside it if there is one."""

    path: Path
    manifest: Manifest
    verdict: Parity
    size: int
    seconds: float


def export_model(
    request: ModelRequest,
    output: Path,
    *,
    exporter: Exporter | Literal["auto"] = "auto",
    opset: int = DEFAULT_OPSET,
    in_graph: InGraph | None = None,
    report: Report = lambda _: None,
) -> Exported:
    """Exports a model to `output`, which appears only if it passes the gate; `report` is told what is being done, a line at a time.

    "auto" takes the dynamo exporter, and the TorchScript exporter where that one fails or its file fails the gate. `in_graph` puts the
    preprocessing into the graph.
    Raises UnknownModelError, WeightsError, UsageError, ExportError, or ParityError with every check's figure.
    """
    start = time.monotonic()
    if output.suffix != ".onnx":
        raise UsageError(f"the output file must end in .onnx, got {output}")
    import_onnxruntime()  # the gate needs it; better said now than after minutes
    with staged(output) as path:
        report(f"loading {request.model}")
        loaded = load(request)
        for note in loaded.notes:
            report(note)
        if in_graph is not None:
            check_in_graph(loaded.preprocess, len(loaded.labels), in_graph)  # also better said before minutes of work
        write = partial(write_unproved, opset=opset, in_graph=in_graph)
        manifest = _first_that_passes(loaded, path, EXPORTERS if exporter == "auto" else (exporter,), write, report)
        size = read_artifact(path).size
    if manifest.parity is None:
        raise ExportError("no exporter was tried")
    return Exported(output, manifest, manifest.parity, size, time.monotonic() - start)


def _first_that_passes(loaded: LoadedModel, path: Path, exporters: tuple[Exporter, ...], write: Write, report: Report) -> Manifest:
    failures: list[ExportError | ParityError] = []
    for exporter in exporters:
        try:
            return _export_with(exporter, loaded, path, write, report)
        except (ExportError, ParityError) as error:
            failures.append(error)
            if isinstance(error, ParityError) and (
                {"preprocessing", "pixels_differing", "pixels_largest"} & set(error.failed) or error.failed == ["not_vacuous"]
            ):
                break  # no exporter can help that: these checks look at the preprocessing and the network alone
            if exporter != exporters[-1]:
                report(f"{error}\nthe {exporter} exporter will not do; trying the next one")
    raise _combined(failures, path.name)


def _export_with(exporter: Exporter, loaded: LoadedModel, path: Path, write: Write, report: Report) -> Manifest:
    report(f"converting to ONNX with the {exporter} exporter")
    model, manifest, layers = write(loaded, path, exporter=exporter)
    report("proving that it gives PyTorch's answers")
    verdict = parity.judge(loaded, path)
    if not verdict.passed:
        raise ParityError(f"the {exporter} exporter's model does not give PyTorch's answers:\n{parity.explain(verdict)}", verdict.parity)
    manifest = replace(manifest, parity=verdict.parity)
    write_sealed(model, manifest, layers, path)
    return manifest


def write_unproved(
    loaded: LoadedModel, path: Path, *, exporter: Exporter = "dynamo", opset: int = DEFAULT_OPSET, in_graph: InGraph | None = None
) -> tuple[onnx.ModelProto, Manifest, tuple[Layer, ...]]:
    """Writes the file that the gate then judges, sealed but without a verdict; gives what is in it. Raises ExportError or UsageError."""
    model = to_onnx(loaded.module, loaded.preprocess.crop_size, exporter=exporter, opset=opset)
    manifest = _manifest(loaded, model, exporter)
    if in_graph is not None:
        manifest = put_in_graph(model, manifest, in_graph)
    manifest = replace(manifest, files=write_model(model, path))
    layers = describe_layers(loaded.module, loaded.preprocess.crop_size)
    write_sealed(model, manifest, layers, path)
    return model, manifest, layers


def _combined(failures: list[ExportError | ParityError], name: str) -> ExportError | ParityError:
    """One error with every cause; a ParityError if any file was made that could be judged."""
    text = f"{name} was not written: " + "\n".join(map(str, failures))
    judged = [failure for failure in failures if isinstance(failure, ParityError)]
    return ParityError(text, judged[-1].parity) if judged else ExportError(text)


def _manifest(loaded: LoadedModel, model: onnx.ModelProto, exporter: Exporter) -> Manifest:
    side = loaded.preprocess.crop_size
    return Manifest(
        model=loaded.info,
        preprocess=loaded.preprocess,
        labels=loaded.labels,
        input=InputInfo(name=INPUT_NAME, shape=(BATCH_AXIS, 3, side, side)),
        output=OutputInfo(name=OUTPUT_NAME),
        published=loaded.published,
        produced_by=ProducedBy(
            **versions("torchless", "torch", "torchvision", "onnx", "onnxruntime"), exporter=exporter, opset=opset_of(model)
        ),
    )
