"""The gate once more, on an artifact that exists: PyTorch's side is built again from what the manifest says of its
origin.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from torchless.batch import inputs
from torchless.batch.passed_over import PassedOver
from torchless.engine.classifier import Classifier
from torchless.engine.devices import Device, parse_device
from torchless.engine.loading import import_onnxruntime
from torchless.errors import ManifestMissingError, UsageError
from torchless.expected.answers import read_expected
from torchless.files import reading
from torchless.model.artifact import Artifact, manifest_of, read_artifact, sha256_of
from torchless.model.manifest import Metrics, ModelInfo
from torchless.model.onnxfile import read_onnx
from torchless.progress import Bars, no_bars
from torchless.proof.checks import check_seal
from torchless_export.errors import WeightsError
from torchless_export.gate.checks import Verdict, check
from torchless_export.gate.evidence import gather
from torchless_export.gate.metrics import measure
from torchless_export.gate.oracle import Oracle
from torchless_export.gate.pixels import as_the_network_sees, inside
from torchless_export.gate.reference import check_reference
from torchless_export.sources.images import YOURS, TestImage, from_inputs, gate_sets
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import NO_WEIGHTS, ModelRequest


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict on `artifact` against the PyTorch model `loaded`; a line for each image that could not be read, and
    notes for the user.

    `tf32_metrics` are the same figures when CUDA may use TF32, which is off for the verdict; empty on the CPU, which
    has no TF32.
    """

    artifact: Artifact
    loaded: LoadedModel
    verdict: Verdict
    unreadable: tuple[str, ...]
    notes: tuple[str, ...]
    tf32_metrics: tuple[Metrics, ...] = ()


def verify(
    model: Path,
    *,
    images: Sequence[str] = (),
    recursive: bool = False,
    device: str = "cpu",
    expect: Path | None = None,
    checkpoint: Path | None = None,
    labels: Path | None = None,
    thumbnails: bool = False,
    progress: Callable[[str], None] = lambda _: None,
    bars: Bars = no_bars,
) -> Verification:
    """Builds the PyTorch model of the artifact `model` again, and runs the whole gate (docs/parity.md): on its own
    images, and on `images`.

    `images` are what `infer` takes: files, folders, globs, archives, URLs; `recursive` looks into the subfolders of
    folders too. ONNX Runtime runs on `device`, PyTorch on the CPU in float64. `expect` is a file of your own program's
    answers to some images (docs/expected.md). `checkpoint` and `labels` are the files it was exported with; by default
    files of those names, beside the artifact or in the current folder. `thumbnails` keeps a small picture of each
    image, for the HTML report. `progress` and `bars` are those of export_model. If a builder made the artifact, that
    builder is called: do not verify files of people you do not trust.

    A failed check is no exception, but in `verdict.failed`. Raises ArtifactError for the file, DeviceError for the
    device, UsageError if no image can be used, and WeightsError where the weights are not available again, or are not
    those it was made from.
    """
    import_onnxruntime()  # fails now, and not after minutes of work; so do the others
    expected = read_expected(expect) if expect is not None else None
    inputs.check(images)
    if manifest_of(read_onnx(model)) is None:
        raise ManifestMissingError(
            f"{model} has no manifest, so nothing says which PyTorch model it must equal; torchless export makes one"
        )
    artifact = read_artifact(model)
    used = Classifier(model, device=device).device if device != "cpu" else "cpu"
    progress(f"building {artifact.manifest.model.name} again with PyTorch")
    loaded = rebuild(artifact, checkpoint=checkpoint, labels=labels)
    unreadable: list[str] = []
    passed_over = PassedOver()

    def more() -> dict[str, Iterator[TestImage]]:
        nonlocal passed_over
        unreadable.clear()
        passed_over = PassedOver()
        given = inputs.expand(images, recursive=recursive, passed_over=passed_over)
        return (
            {YOURS: _usable(from_inputs(given, loaded.preprocess, failures=unreadable), unreadable)} if images else {}
        )

    progress(f"proving that {model.name} gives PyTorch's answers")
    oracle = Oracle(loaded.module, loaded.shape)
    verdict = check(
        loaded,
        model,
        oracle=oracle,
        device=used,
        first=[check_seal(artifact), check_reference(loaded)],
        more=more(),
        expected=expected,
        thumbnails=thumbnails,
        bars=bars,
    )
    tf32_metrics: tuple[Metrics, ...] = ()
    if parse_device(used) == Device("cuda", parse_device(used).index) and verdict.evidence is not None:
        progress("comparing once more, with TF32")
        seen = as_the_network_sees(loaded, inside(artifact.manifest, model))
        classifier = Classifier(model, device=f"{used},tf32")
        tf32_metrics = measure(gather(seen, classifier, oracle, {**gate_sets(loaded.size), **more()}))
    return Verification(
        artifact=artifact,
        loaded=loaded,
        verdict=verdict,
        unreadable=tuple(unreadable),
        notes=(*loaded.notes, *_notes(artifact, loaded), *passed_over.lines()),
        tf32_metrics=tf32_metrics,
    )


def rebuild(artifact: Artifact, *, checkpoint: Path | None = None, labels: Path | None = None) -> LoadedModel:
    """The PyTorch model that `artifact` was exported from. Raises WeightsError when its weights are not available, or
    have changed.
    """
    info = artifact.manifest.model
    if info.source == "module":
        raise WeightsError(
            f"{artifact.path} was exported from a live network, which is gone, so it cannot be built again; without "
            "`rebuild`, verify checks the file against the evidence in it"
        )
    if info.source == "unknown":
        raise WeightsError(
            f"the manifest of {artifact.path} does not say where the model comes from, so it cannot be built again"
        )
    loaded = load(_request(artifact, checkpoint, labels))
    if info.state_sha256 is not None and loaded.info.state_sha256 != info.state_sha256:
        raise WeightsError(f"{artifact.path} was made from other weights than {_origin(info)} gives now{_why(info)}")
    return loaded


def _request(artifact: Artifact, checkpoint: Path | None, labels: Path | None) -> ModelRequest:
    info, own = artifact.manifest.model, artifact.manifest.labels
    if checkpoint is not None and info.checkpoint is None:
        raise UsageError(f"{artifact.path} was not made from a checkpoint; leave `checkpoint` out")
    if labels is not None and info.labels_file is None:
        raise UsageError(f"{artifact.path} was not made with a labels file; leave `labels` out")
    if info.checkpoint is not None:
        checkpoint = _checkpoint(info, artifact.path, checkpoint)
    request = ModelRequest(
        model=info.argument, builder=info.builder, checkpoint=checkpoint, checkpoint_key=info.checkpoint_key
    )
    if info.changes is not None:
        request = replace(request, changes=info.changes)
    if info.transform_input is not None:
        request = replace(request, transform_input=info.transform_input)
    if info.weights is None:
        request = replace(
            request, weights=NO_WEIGHTS, seed=info.seed or 0, num_classes=len(own) if info.builder is None else None
        )
    elif info.checkpoint is None and info.source == "torchvision":
        request = replace(request, weights=info.weights)
    if info.labels_file is not None:
        request = replace(request, labels=labels or _found(info.labels_file, artifact.path, info.labels_sha256) or own)
    return request


def _checkpoint(info: ModelInfo, artifact: Path, given: Path | None) -> Path:
    path = given or _found(str(info.checkpoint), artifact, info.sha256)
    if path is None:
        raise WeightsError(
            f"{artifact} was made from the checkpoint {info.checkpoint}, which is neither beside it nor here (under "
            "that name, with the same SHA-256); give it as `checkpoint`"
        )
    if _digest(path) != info.sha256:
        raise WeightsError(f"{path} is not the checkpoint that {artifact} was made from: their SHA-256 differ")
    return path


def _found(name: str, artifact: Path, sha256: str | None) -> Path | None:
    """The file of that name and hash, beside the artifact or in the current folder. The manifest may not send us
    anywhere else.
    """
    candidates = [folder / Path(name).name for folder in (artifact.parent, Path())]
    return next((path for path in candidates if os.path.isfile(path) and _digest(path) == sha256), None)


def _digest(path: Path) -> str:
    with reading(path, WeightsError):
        return sha256_of(path)


def _notes(artifact: Artifact, loaded: LoadedModel) -> tuple[str, ...]:
    """What the gate could not compare."""
    file = artifact.manifest.model.labels_file
    if file is None or loaded.info.labels_file is not None:
        return ()
    return (
        (
            f"the labels are not compared: {file}, which they came from, is neither beside the artifact nor here; "
            f"give it as `labels`"
        ),
    )


def _origin(info: ModelInfo) -> str:
    if info.builder is not None:
        return f"the builder {info.builder}"
    if info.checkpoint is not None:
        return f"the checkpoint {info.checkpoint}"
    return f"{info.name} {info.weights}" if info.weights is not None else f"`weights` none with `seed` {info.seed}"


def _why(info: ModelInfo) -> str:
    if info.weights is None:
        return ": random weights come out the same only with the same torch, kind of processor and number of threads"
    return ": its code or its weights have changed since" if info.builder is not None else ""


def _usable(stream: Iterator[TestImage], unreadable: list[str]) -> Iterator[TestImage]:
    """The images, read one at a time; UsageError if there is none at all."""
    first = next(stream, None)
    if first is None:
        raise UsageError(f"none of the images can be used{f': {unreadable[0]}' if unreadable else ''}")
    return chain([first], stream)
