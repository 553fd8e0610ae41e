"""export_model: load, convert, seal, prove, and only then let the file appear."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import onnx
import torch
from torch import nn

from torchless.doctor.machine import versions
from torchless.engine.loading import import_onnxruntime
from torchless.errors import UsageError
from torchless.expected.answers import read_expected
from torchless.image.decode import ImageLike
from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence
from torchless.model.explanation import explanation
from torchless.model.labels import GivenLabels
from torchless.model.manifest import Activation, Check, InputInfo, Manifest, OutputInfo, Parity, ProducedBy
from torchless.progress import Bars, no_bars
from torchless.text import UNTRAINED, megabytes
from torchless_export.convert.exporters import (
    BATCH_AXIS,
    DEFAULT_OPSET,
    INPUT_NAME,
    OUTPUT_NAME,
    Exporter,
    exporters_for,
)
from torchless_export.convert.layers import describe_layers
from torchless_export.convert.to_onnx import opset_of, to_onnx
from torchless_export.convert.write import SealedFile, staged, write_model, write_sealed
from torchless_export.errors import ExportError, ParityError
from torchless_export.gate import evidence as gathered
from torchless_export.gate.checks import Verdict, check, unusable
from torchless_export.gate.enclosed import enclose, question
from torchless_export.gate.oracle import Oracle, Question
from torchless_export.gate.reference import check_reference
from torchless_export.gate.sealing import seal
from torchless_export.gate.text import explain, table
from torchless_export.in_graph.build import InGraph, put_in_graph
from torchless_export.sources.images import YOURS, TestImage, from_examples, gate_sets
from torchless_export.sources.live import load_live
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import ModelRequest

Progress = Callable[[str], None]
Write = Callable[..., SealedFile]  # write_unproved with all its options but the exporter
Prove = Callable[[], Verdict]  # check, on what was written
Enclosed = Callable[[gathered.Evidence], Evidence] | None  # enclose, on what the gate found

_DEFAULT_OUTPUT = "model.onnx"


@dataclass(frozen=True)
class Exported:
    """A file that passed the gate: the manifest and the verdict in it, its size in bytes (with its data file, if it has
    one), and how many seconds the export took.
    """

    path: Path
    manifest: Manifest
    verdict: Parity
    size: int
    seconds: float

    def __str__(self) -> str:
        """What `torchless export` prints: the file, every check with its figure and limit, and what was assumed."""
        made, data = self.manifest.produced_by, self.manifest.files
        name = f"{self.path}{f' + {data.data}' if data is not None else ''}"
        lines = [
            f"{name}  {megabytes(self.size)}  opset {made.opset if made else '?'}  {self.seconds:.1f} s",
            f"parity passed on {self.verdict.images} images:",
            table(self.verdict),
            explanation(self.manifest),
        ]
        if not self.manifest.is_trained:
            lines.append(f"note: {self.manifest.model.name} is {UNTRAINED}")
        return "\n".join(lines)


def export_model(
    model: nn.Module | ModelRequest,
    *,
    output: str | PathLike[str] = _DEFAULT_OUTPUT,
    transform: Any = None,
    labels: GivenLabels | None = None,
    activation: Activation | None = None,
    threshold: float | tuple[float, ...] | None = None,
    examples: Sequence[ImageLike] = (),
    expect: str | PathLike[str] | None = None,
    exporter: Exporter | Literal["auto"] = "auto",
    opset: int = DEFAULT_OPSET,
    in_graph: InGraph | None = None,
    evidence: bool = True,
    progress: Progress = lambda _: None,
    bars: Bars = no_bars,
) -> Exported:
    """Exports a classifier to the ONNX file `output`, which appears only if it gives PyTorch's answers
    (docs/parity.md).

        export_model(network, transform=transform, labels=["cat", "dog"], output="pets.onnx")

    `model` is the network itself, as it is after training: on any device, in any mode, within DataParallel,
    DistributedDataParallel or torch.compile. A copy in eval mode is exported; the network stays as it is. With it come

    - `transform`, which makes float32 (channels, height, width) of a Pillow image: the one that you evaluate with. It
      is read into the manifest, and the runtime's preprocessing is compared with that very callable, bit for bit. A
      step that cannot be expressed is refused by name.
    - `labels`, the names of the classes: in order, or {index: name}, or class_to_idx, or a file.
    - `activation`, what makes probabilities of its output: "softmax" (assumed without it), "sigmoid" or "none"; and
      `threshold`, the probability from which a class counts as present: one for all, or one for each.

    Or `model` is a ModelRequest, which holds all of that: what the command line exports.

    `examples` are images that join those of the gate: paths, bytes, Pillow images or uint8 arrays (H, W, 3). They also
    tell the images' size where a live network's transform fixes none. `expect` is a file of your own program's answers
    to some images, as `record` writes it (docs/expected.md): the export gives the same, or fails and names the likely
    cause. `exporter` "auto" takes torch's dynamo exporter,
    and the TorchScript exporter where that one fails or its file fails the gate. `opset` is the version of ONNX's
    operators, 9 to 20; below 18 only the TorchScript exporter writes it. `progress` gets a line of text for each step,
    and `bars` makes a bar of the images that the file is proved on.

    The graph takes float32 (batch, channels, height, width), prepared as the manifest says, and gives float32 logits
    (batch, classes); with `in_graph` it takes the pixels of one image, uint8 (height, width, 3), and gives logits
    (1, classes). Unless `evidence` is false, the file carries test images with PyTorch's answers to them
    (docs/verify.md).

    Raises UnknownModelError for a name that torchvision does not have, WeightsError for weights that are missing or do
    not fit, UsageError for a request that makes no sense, ExportError where torch cannot convert the model, and
    ParityError with every check's figure.
    """
    start, output = time.monotonic(), Path(output)
    if output.suffix != ".onnx":
        raise UsageError(f"the output file must end in .onnx, got {output}")
    exporters = exporters_for(opset, exporter)
    import_onnxruntime()  # the gate needs it: better to fail now than in some minutes
    tests, expected = from_examples(examples), read_expected(expect) if expect is not None else None
    given = {"transform": transform, "labels": labels, "activation": activation, "threshold": threshold}
    with staged(output) as path, _on_the_cpu():
        loaded = _load(model, output, given, tests, progress)
        if in_graph is not None:
            in_graph.check_fits(loaded.preprocess, len(loaded.labels), opset)  # also better now than in some minutes
        reference = _check_reference(loaded, output.name)
        write = partial(write_unproved, loaded, path, opset=opset, in_graph=in_graph)
        oracle, more = Oracle(loaded.module, loaded.shape), {YOURS: tests} if tests else {}
        prove = partial(check, loaded, path, oracle=oracle, first=[reference], more=more, expected=expected, bars=bars)
        enclosed = partial(enclose, loaded, oracle, path) if evidence else None
        # A file with its own preprocessing is asked about what that makes of the images.
        with oracle.ahead(_questions(loaded, evidence=evidence) if in_graph is None else ()):
            manifest = _first_that_passes(exporters, path.name, write, prove, enclosed, progress)
        size = read_artifact(path).size
    if manifest.parity is None:
        raise ExportError("no exporter was tried")
    return Exported(output, manifest, manifest.parity, size, time.monotonic() - start)


def _on_the_cpu() -> AbstractContextManager[object]:
    """New tensors are on the CPU in it, whatever the user's script has set."""
    cpu = torch.device("cpu")
    return nullcontext() if torch.get_default_device() == cpu else cpu


def _load(
    model: nn.Module | ModelRequest, output: Path, given: dict[str, Any], tests: list[TestImage], progress: Progress
) -> LoadedModel:
    if isinstance(model, ModelRequest):
        if said := [name for name, value in given.items() if value is not None]:
            raise UsageError(f"`{said[0]}` goes with a live network; a ModelRequest holds its own")
        progress(f"loading {model.model}")
        loaded = load(model)
    elif isinstance(model, nn.Module):
        name = output.stem if output.name != _DEFAULT_OUTPUT else ""
        loaded = load_live(model, name=name, **given, examples=tests)
    else:
        raise UsageError(f"`model` takes a torch.nn.Module or a ModelRequest, got {type(model).__name__}")
    for note in loaded.notes:
        progress(note)
    return loaded


def _check_reference(loaded: LoadedModel, name: str) -> Check:
    """The check that passed; ParityError where no exporter can help, for PyTorch's own answers are no reference."""
    reference = check_reference(loaded)
    if not reference.passed:
        raise ParityError(f"{name} was not written: {reference.detail}", unusable([reference]).parity)
    return reference


def _questions(loaded: LoadedModel, *, evidence: bool) -> Iterator[Question]:
    """What the gate will ask PyTorch, whatever an exporter writes."""
    yield from gathered.questions(loaded, gate_sets(loaded.size))
    if evidence:
        yield question(loaded)


def _first_that_passes(
    exporters: tuple[Exporter, ...], name: str, write: Write, prove: Prove, enclosed: Enclosed, progress: Progress
) -> Manifest:
    failures: list[ExportError | ParityError] = []
    for exporter in exporters:
        try:
            return _export_with(exporter, write, prove, enclosed, progress)
        except (ExportError, ParityError) as error:
            failures.append(error)
            if isinstance(error, ParityError) and (
                {"preprocessing", "pixels_differing", "pixels_largest"} & set(error.failed)
                or set(error.failed) <= {"not_vacuous", "activation", "expected"}
            ):
                break  # no exporter can help: these checks look at the preprocessing and the network alone
            if exporter != exporters[-1]:
                progress(f"{error}\nthe {exporter} exporter does not work here; trying the next one")
    raise _combined(failures, name)


def _export_with(exporter: Exporter, write: Write, prove: Prove, enclosed: Enclosed, progress: Progress) -> Manifest:
    progress(f"converting to ONNX with the {exporter} exporter")
    file = write(exporter=exporter)
    progress("proving that it gives PyTorch's answers")
    verdict = prove()
    if not verdict.passed:
        raise ParityError(
            f"the {exporter} exporter's model does not give PyTorch's answers:\n{explain(verdict)}", verdict.parity
        )
    manifest = replace(file.manifest, parity=verdict.parity)
    if enclosed is not None and verdict.evidence is not None:
        seal(file, manifest, enclosed(verdict.evidence), progress)
    else:
        file.write(manifest)
    return file.manifest


def write_unproved(
    loaded: LoadedModel,
    path: Path,
    *,
    exporter: Exporter = "dynamo",
    opset: int = DEFAULT_OPSET,
    in_graph: InGraph | None = None,
) -> SealedFile:
    """Writes the file that the gate then checks, sealed but without a verdict. Raises ExportError or UsageError."""
    model = to_onnx(loaded.module, loaded.shape, exporter=exporter, opset=opset)
    manifest = _manifest(loaded, model, exporter)
    if in_graph is not None:
        manifest = put_in_graph(model, manifest, in_graph)
    manifest = replace(manifest, files=write_model(model, path))
    return write_sealed(model, manifest, describe_layers(loaded.module, loaded.shape), path)


def _combined(failures: list[ExportError | ParityError], name: str) -> ExportError | ParityError:
    """One error with every cause; a ParityError if any file got as far as the gate."""
    text = f"{name} was not written: " + "\n".join(map(str, failures))
    checked = [failure for failure in failures if isinstance(failure, ParityError)]
    return ParityError(text, checked[-1].parity) if checked else ExportError(text)


def _manifest(loaded: LoadedModel, model: onnx.ModelProto, exporter: Exporter) -> Manifest:
    return Manifest(
        model=loaded.info,
        preprocess=loaded.preprocess,
        labels=loaded.labels,
        input=InputInfo(name=INPUT_NAME, shape=(BATCH_AXIS, *loaded.shape)),
        output=OutputInfo(name=OUTPUT_NAME, activation=loaded.activation, thresholds=loaded.thresholds),
        published=loaded.published,
        assumed=loaded.assumed,
        produced_by=ProducedBy(
            **versions("torchless", "torch", "torchvision", "onnx", "onnxruntime"),
            exporter=exporter,
            opset=opset_of(model),
        ),
    )
