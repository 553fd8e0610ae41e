"""The gate once more, on an artifact that exists: PyTorch's side is built again from what the manifest says of its origin."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from torchless.artifact import Artifact, manifest_of, read_artifact, sha256_of
from torchless.classifier import Classifier
from torchless.errors import ManifestMissingError, UsageError
from torchless.inputs import expand
from torchless.manifest import Check, ModelInfo
from torchless.trust import Seal, check_seal
from torchless_export import judges, parity
from torchless_export.errors import WeightsError
from torchless_export.parity.evidence import max_abs
from torchless_export.sources import NO_WEIGHTS, LoadedModel, ModelRequest, load


@dataclass(frozen=True, kw_only=True)
class Verification:
    """The verdict, the user's images that could not be read, and what is to be said beside it.

    `tf32_error` is the largest error of a logit when CUDA may use TF32; None on the CPU, which has none.
    """

    artifact: Artifact
    loaded: LoadedModel
    verdict: parity.Verdict
    unreadable: tuple[str, ...]
    notes: tuple[str, ...]
    tf32_error: float | None = None


def verify(
    model: Path,
    *,
    images: Iterable[str] = (),
    recursive: bool = False,
    device: str = "cpu",
    checkpoint: Path | None = None,
    labels: Path | None = None,
) -> Verification:
    """Runs the whole gate on the file `model`, with the user's `images` (files, folders, globs) as one more set.

    `checkpoint` and `labels` are the files it was exported with; by default those names are looked for beside the artifact and in the
    current folder. Raises ArtifactError for the file, DeviceError for the device, WeightsError where the weights cannot be had again or are
    not those it was made from.
    """
    artifact = read_artifact(model)
    if manifest_of(artifact.file) is None:
        raise ManifestMissingError(f"{model} has no manifest, so nothing says which PyTorch model it must equal")
    on_gpu = device != "cpu" and Classifier(model, device=device).device != "cpu"  # refused before minutes of work
    loaded = rebuild(artifact, checkpoint=checkpoint, labels=labels)
    unreadable: list[str] = []
    paths = list(images)
    more = {"yours": _readable(paths, recursive, unreadable)} if paths else {}
    verdict = parity.judge(loaded, model, device=device if on_gpu else "cpu", first=[_check_seal(artifact)], more=more)
    tf32_error = _tf32_error(model, device, verdict) if on_gpu else None
    return Verification(
        artifact=artifact, loaded=loaded, verdict=verdict, unreadable=tuple(unreadable), notes=loaded.notes, tf32_error=tf32_error
    )


def rebuild(artifact: Artifact, *, checkpoint: Path | None = None, labels: Path | None = None) -> LoadedModel:
    """The PyTorch model that `artifact` was exported from. Raises WeightsError when its weights cannot be had, or are others now."""
    info = artifact.manifest.model
    if info.source == "unknown":
        raise WeightsError(f"the manifest of {artifact.path} does not say where the model comes from, so it cannot be built again")
    loaded = load(_request(artifact, checkpoint, labels))
    if info.state_sha256 is not None and loaded.info.state_sha256 != info.state_sha256:
        raise WeightsError(f"{artifact.path} was made from other weights than {_origin(info)} gives now{_why(info)}")
    return loaded


def _request(artifact: Artifact, checkpoint: Path | None, labels: Path | None) -> ModelRequest:
    info, own = artifact.manifest.model, artifact.manifest.labels
    if info.checkpoint is not None:
        checkpoint = _find(info.checkpoint, artifact.path, checkpoint, "--checkpoint")
        if info.sha256 is not None and sha256_of(checkpoint) != info.sha256:
            raise WeightsError(f"{checkpoint} is not the checkpoint that {artifact.path} was made from: their SHA-256 differ")
    elif checkpoint is not None:
        raise UsageError(f"{artifact.path} was not made from a checkpoint; leave --checkpoint out")
    request = ModelRequest(model=info.name, builder=info.builder, checkpoint=checkpoint, checkpoint_key=info.checkpoint_key)
    if info.changes is not None:
        request = replace(request, changes=info.changes)
    if info.weights is None:
        request = replace(request, weights=NO_WEIGHTS, seed=info.seed or 0, num_classes=len(own) if info.builder is None else None)
    elif info.checkpoint is None and info.builder is None:
        request = replace(request, weights=info.weights)
    if info.labels_file is not None:
        request = replace(request, labels=labels or _beside(info.labels_file, artifact.path) or own)
    return request


def _find(name: str, beside: Path, given: Path | None, flag: str) -> Path:
    found = given or _beside(name, beside)
    if found is None:
        raise WeightsError(f"{beside} was made from the checkpoint {name}, which is neither beside it nor here; give it with {flag} FILE")
    if not found.is_file():
        raise WeightsError(f"there is no checkpoint file {found}")
    return found


def _beside(name: str, artifact: Path) -> Path | None:
    return next((path for path in (artifact.parent / name, Path(name)) if path.is_file()), None)


def _origin(info: ModelInfo) -> str:
    if info.builder is not None:
        return f"the builder {info.builder}"
    if info.checkpoint is not None:
        return f"the checkpoint {info.checkpoint}"
    return f"{info.name} {info.weights}" if info.weights is not None else f"--weights none --seed {info.seed}"


def _why(info: ModelInfo) -> str:
    if info.weights is None:
        return ": random weights come out the same only with the same torch on the same kind of processor"
    return ": its code or its weights have changed since" if info.builder is not None else ""


def _check_seal(artifact: Artifact) -> Check:
    seal = check_seal(artifact.file)
    details = {
        Seal.INTACT: "unchanged since it was exported",
        Seal.CHANGED: "the file was changed after it was sealed",
        Seal.MISSING: "the file has no seal",
    }
    return Check(name="seal", passed=seal == Seal.INTACT, figure=int(seal != Seal.INTACT), limit=0, detail=details[seal])


def _readable(paths: list[str], recursive: bool, unreadable: list[str]) -> Iterator[judges.Judge]:
    """The images, read as they are needed; UsageError if there is none at all."""
    stream = judges.from_files(_names(paths, recursive, unreadable), failures=unreadable)
    first = next(stream, None)
    if first is None:
        raise UsageError(f"none of the images can be used: {unreadable[0]}")
    return chain([first], stream)


def _names(paths: list[str], recursive: bool, unreadable: list[str]) -> Iterator[str]:
    for item in expand(paths, recursive=recursive):
        if item.error is not None or not isinstance(item.image, str):
            unreadable.append(item.error or f"{item.name}: verify takes files and folders, not standard input")
        else:
            yield item.image


def _tf32_error(model: Path, device: str, verdict: parity.Verdict) -> float | None:
    """What TF32 would cost: it is off for the verdict, but many servers turn it on."""
    if verdict.evidence is None:
        return None
    classifier = Classifier(model, device=device, tf32=True)
    photos = [judge.image for judge in judges.photos()]
    return max_abs(classifier.logits(photos) - verdict.evidence.sets["photos"].reference)
