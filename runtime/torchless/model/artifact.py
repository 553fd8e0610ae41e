"""A model file together with the manifest that says how to use it, from inside the file or from the user."""

from collections.abc import Iterator
from dataclasses import fields
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import Literal, cast

from torchless.errors import ArtifactError, ExternalDataError, ManifestError, ManifestMissingError, UsageError
from torchless.model.manifest import Activation, InputInfo, Manifest, ModelInfo, OutputInfo
from torchless.model.onnxfile import OnnxFile, TensorType, read_onnx
from torchless.model.preprocessing import Interpolation, Preprocess, Resize, check_unit_range
from torchless.model.seal import Seal, check_seal
from torchless.records import dataclass


@dataclass(frozen=True)
class Artifact:
    """A model file that can be run: what was read of it once, for all who need it."""

    file: OnnxFile
    manifest: Manifest

    @property
    def path(self) -> Path:
        return self.file.path

    @property
    def files(self) -> tuple[Path, ...]:
        """The model file and the files beside it that hold its weights: copy all of them to run it elsewhere.

        Raises ExternalDataError where the model keeps weights in another folder.
        """
        names = self.file.data_files
        if outside := [name for name in names if Path(name).name != name]:
            raise ExternalDataError(
                f"{self.path} keeps its weights in {', '.join(outside)}, which is not in its own folder; save it "
                f"with them beside it"
            )
        return self.path, *(self.path.parent / name for name in names)

    @property
    def size(self) -> int:
        """The bytes of all its files. Raises ExternalDataError for one that is not there."""
        held, (_, *others) = self.file.held, self.files
        if held is not None:
            return len(held.content) + sum(map(len, held.data.values()))
        try:
            return self.file.file_size + sum(path.stat().st_size for path in others)
        except OSError:
            raise ExternalDataError.missing(self.path, *(path.name for path in others)) from None

    @cached_property
    def seal(self) -> Seal:
        """Reads the whole file the first time, about a second per GB.

        Raises ArtifactNotFoundError if it cannot be read.
        """
        return check_seal(self.file)

    def doubts(self) -> tuple[str, ...]:
        """Sentences that the user should read before trusting the model.

        Empty for one that was proved and is unchanged; also for a file without a manifest of its own: whoever describes
        a file by hand knows that nobody has proved it. Reads and raises what `seal` does.
        """
        return tuple(self._doubts()) if Manifest.KEY in self.file.metadata else ()

    def _doubts(self) -> Iterator[str]:
        again = f"{'export' if self.manifest.reduction is None else 'quantize'} it again"
        if self.manifest.parity is None:
            yield (
                f"{self.path} has no verdict of the parity gate: nothing proves that it gives PyTorch's "
                f"answers; {again}"
            )
        elif not self.manifest.parity.passed:
            yield f"{self.path} failed the parity gate"
        if self.seal is Seal.CHANGED:
            yield (
                f"{self.path} was changed after it was sealed: its verdict no longer holds; {again}, or see: "
                f"torchless verify"
            )
        elif self.seal is Seal.MISSING:
            yield f"{self.path} has no seal, so nothing shows whether it is the file that was proved; {again}"


@dataclass(frozen=True, kw_only=True)
class FileDescription:
    """How the images of an ONNX file without a manifest are prepared, and what its output means, as its user says it.

    Names and units are those of `manifest.Preprocess` and `manifest.OutputInfo`; `crop` () is no crop; None means not
    given.
    """

    resize: Resize | None = None
    crop: tuple[int, ...] | None = None
    channels: Literal[1, 3] | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    interpolation: Interpolation | None = None
    activation: Activation | None = None

    @property
    def given(self) -> list[str]:
        """The names of the fields that are given."""
        return [field.name for field in fields(self) if getattr(self, field.name) is not None]


def read_artifact(
    model: str | PathLike[str] | OnnxFile,
    *,
    manifest: Manifest | None = None,
    description: FileDescription = FileDescription(),
    labels: tuple[str, ...] | None = None,
    threshold: float | None = None,
    require_signature: str | PathLike[str] | bytes | None = None,
) -> Artifact:
    """A model file, read now or before, with its manifest.

    It loads no weights, unless `require_signature` (see Classifier) makes it check and keep all bytes. A file without a
    manifest takes the one given, or `description` with `labels`; a graph that gives probabilities is then multi-label
    if there is a `threshold`. A file with one takes neither: its proof holds only for its own preprocessing. Raises
    ArtifactError and its subclasses, and UsageError for arguments that contradict each other.
    """
    if require_signature is not None:
        from torchless.model.signing import read_signed

        file = read_signed(model.path if isinstance(model, OnnxFile) else model, require_signature)
    else:
        file = model if isinstance(model, OnnxFile) else read_onnx(model)
    own, described = manifest_of(file), description.given
    given = ["manifest"] * (manifest is not None) + described
    if own is not None and given:
        raise UsageError(f"{file.path} has its own manifest, which {_named(given)} would contradict; leave that out")
    if manifest is not None and described:
        raise UsageError(f"`manifest` is complete; leave {_named(described)} out")
    artifact = Artifact(file, own or manifest or _describe(file, description, labels, threshold))
    _check_data_file(artifact)
    return artifact


def manifest_of(file: OnnxFile) -> Manifest | None:
    """The manifest inside a model file; None if there is none. Errors name the file."""
    text = file.metadata.get(Manifest.KEY)
    try:
        return Manifest.from_json(text) if text is not None else None
    except ArtifactError as error:
        raise type(error)(f"{file.path}: {error}") from None


def _check_data_file(artifact: Artifact) -> None:
    """Reads the whole data file, a second or two per GB: ONNX Runtime would run with whatever is in it."""
    files = artifact.manifest.files
    if files is None:
        return
    data, held = artifact.path.parent / Path(files.data).name, artifact.file.held
    if held is not None:
        import hashlib

        if hashlib.sha256(held.data.get(data.name, b"")).hexdigest() != files.sha256:
            raise ExternalDataError(f"{data} belongs to another export than {artifact.path}")
        return
    if not data.is_file():
        raise ExternalDataError.missing(artifact.path, files.data)
    if sha256_of(data) != files.sha256:
        raise ExternalDataError(
            f"{data} is incomplete, altered, or from another export than {artifact.path}; copy both files "
            f"together again"
        )


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal."""
    import hashlib

    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _describe(
    file: OnnxFile, given: FileDescription, labels: tuple[str, ...] | None, threshold: float | None
) -> Manifest:
    """A manifest from the graph's own input and output and the user's description; names exactly what is missing."""
    source, target, num_params = _graph_ends(file)
    wanted = {"resize": given.resize, "mean": given.mean, "std": given.std, "labels": labels}
    missing = [name for name, value in wanted.items() if value is None]
    if given.resize is None or given.mean is None or given.std is None or labels is None:
        raise ManifestMissingError(
            f"{file.path} has no manifest, so it does not say how to prepare images; give `manifest`, or describe "
            f"it: missing {_named(missing)}"
        )
    check_unit_range(given.mean, given.std)
    channels = given.channels or (1 if _dimensions(source)[:1] == (1,) else 3)
    try:
        preprocess = Preprocess(
            resize=given.resize,
            crop=_crop(given, source),
            channels=channels,
            grayscale="first" if channels == 1 else None,
            mean=given.mean,
            std=given.std,
            interpolation=given.interpolation or "bilinear",
        )
    except ManifestError as error:
        raise UsageError(str(error)) from None
    return Manifest(
        model=ModelInfo(name=file.path.stem, source="unknown", weights="unknown", num_params=num_params),
        preprocess=preprocess,
        labels=labels,
        input=InputInfo(name=source.name, shape=tuple("?" if size is None else size for size in source.shape or ())),
        output=OutputInfo(
            name=target.name,
            activation=given.activation or "softmax",
            thresholds=(threshold,) * len(labels) if threshold is not None and given.activation == "none" else None,
        ),
    )


def _graph_ends(file: OnnxFile) -> tuple[TensorType, TensorType, int]:
    graph = file.graph
    if len(graph.inputs) != 1 or len(graph.outputs) < 1:
        raise ManifestError(
            f"{file.path} is not an image classifier: it has {len(graph.inputs)} inputs and {len(graph.outputs)} "
            f"outputs"
        )
    return graph.inputs[0], graph.outputs[0], sum(weight.size for weight in graph.initializers)


def _crop(given: FileDescription, source: TensorType) -> tuple[int, int] | None:
    """As given; otherwise what the graph takes, unless the resize gives exactly that."""
    if given.crop is not None:
        return cast(tuple[int, int], given.crop) if given.crop else None
    match _dimensions(source)[1:]:
        case int(height), int(width) if given.resize is None or given.resize.mode != "exact":
            return height, width
    return None


def _dimensions(source: TensorType) -> tuple[int | str | None, ...]:
    """The graph's channels, height and width, as far as it has them."""
    return source.shape[1:] if source.shape is not None and len(source.shape) == 4 else ()


def _named(parameters: list[str]) -> str:
    return ", ".join(f"`{name}`" for name in parameters)
