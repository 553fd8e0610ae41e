"""How a model is opened, the same for every command, and what its user is told first.

Importing this module is cheap: the command line takes its defaults from here.
"""

import threading
from collections.abc import Iterator, Sequence
from os import PathLike
from typing import TYPE_CHECKING

from torchless.errors import ArtifactError
from torchless.image.options import ImageOptions
from torchless.model.artifact import Artifact, FileDescription, read_artifact
from torchless.model.manifest import Manifest
from torchless.process import tell
from torchless.records import dataclass
from torchless.text import printable

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier
    from torchless.engine.head import Head
    from torchless.engine.session import SessionAhead
    from torchless.model.onnxfile import OnnxFile


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """How a model file is opened: the parameters of Classifier, with their names and defaults.

    It holds only data and can be sent to other processes. The key in `require_signature` is the content of its PEM
    file, so replacing the file later does not change the key.
    """

    device: str = "auto"
    threads: int | None = None
    labels: tuple[str, ...] | None = None
    manifest: Manifest | None = None
    description: FileDescription = FileDescription()
    image_options: ImageOptions = ImageOptions()
    threshold: float | None = None
    require_signature: bytes | None = None
    max_gpu_bytes: int | None = None

    def read(self, model: "str | PathLike[str] | OnnxFile") -> Artifact:
        """The model file, read now or before, and its manifest. Raises what read_artifact raises."""
        return read_artifact(
            model,
            manifest=self.manifest,
            description=self.description,
            labels=self.labels,
            threshold=self.threshold,
            require_signature=self.require_signature,
        )

    @property
    def gpus(self) -> int:
        """How many GPUs the device takes, as schedulers count them."""
        from torchless.engine.devices import parse_device

        return parse_device(self.device).gpus

    def head_of(self, model: str | PathLike[str]) -> "Head":
        """The head that the model will have, by what its file says: no weights are loaded. Raises what `open` does."""
        from torchless.engine.head import head_of

        artifact = self.read(model)
        ends = {end.name: end.shape or () for end in artifact.file.graph.outputs}
        shape = ends.get(artifact.manifest.output.name, ())
        outputs = shape[-1] if shape and isinstance(shape[-1], int) else None
        return head_of(artifact, labels=self.labels, outputs=outputs, threshold=self.threshold)

    def open(self, model: "str | PathLike[str] | OnnxFile") -> "Classifier":
        """The model, ready to run. Raises what Classifier raises."""
        return self._open(self.read(model))

    def open_with_warnings(
        self, model: str | PathLike[str], *, ahead: "SessionAhead | None" = None
    ) -> tuple["Classifier", tuple[str, ...]]:
        """The same, with sentences that its user should read before trusting it: the model is untrained, was not
        proved, or has changed since.

        The whole file is read to check its seal while ONNX Runtime loads it, so a cold start takes no longer. What is
        opened `ahead` must be `model`; its file is then not read again.
        """
        from torchless.engine.loading import import_onnxruntime

        import_onnxruntime()  # now, because the next line's thread would keep taking Python's lock from it
        artifact = self.read(model if ahead is None else ahead.file)
        warnings = _Warnings(artifact)
        classifier = self._open(artifact, ahead)
        return classifier, (*warnings.found(), *_of_device(classifier))

    def _open(self, artifact: Artifact, ahead: "SessionAhead | None" = None) -> "Classifier":
        from torchless.engine.classifier import Classifier

        return Classifier.of(
            artifact,
            device=self.device,
            threads=self.threads,
            labels=self.labels,
            image_options=self.image_options,
            threshold=self.threshold,
            max_gpu_bytes=self.max_gpu_bytes,
            ahead=ahead,
        )


class _Warnings(threading.Thread):
    """Collects the warnings about an artifact in the background."""

    def __init__(self, artifact: Artifact) -> None:
        super().__init__(daemon=True)
        self._artifact = artifact
        self._found: tuple[str, ...] = ()
        self._error: ArtifactError | None = None
        self.start()

    def run(self) -> None:
        try:
            self._found = tuple(_warnings(self._artifact))
        except ArtifactError as error:
            self._error = error

    def found(self) -> tuple[str, ...]:
        self.join()
        if self._error is not None:
            raise self._error
        return self._found


def _warnings(artifact: Artifact) -> Iterator[str]:
    from torchless.text import UNTRAINED

    if not artifact.manifest.is_trained:
        yield f"{artifact.manifest.model.name} is {UNTRAINED}"
    yield from artifact.doubts()


def _of_device(classifier: "Classifier") -> Iterator[str]:
    if classifier.manifest.precision == "int8" and classifier.device.startswith("cuda"):
        yield (
            f"{classifier.file.path.name} is int8, which CUDA computes in float, so it gains nothing there: take the "
            "float32 file it was made from, or an fp16 one (docs/devices.md)"
        )


def tell_opened(classifier: "Classifier", warnings: Sequence[str], *, device: str, workers: int) -> None:
    """Tells the user, on stderr, which device "auto" chose, and the warnings of open_with_warnings."""
    if device == "auto":
        why = "the GPU cannot be used: " * (classifier.device == "cpu")
        reason = f"; {why}{classifier.device_note}" if classifier.device_note else ""
        threads = f", {classifier.threads} thread{'s' * (classifier.threads > 1)}" if classifier.device == "cpu" else ""
        shared = f", {workers} workers" if workers > 1 else ""
        tell(f"device: {classifier.device}{shared}{threads}{reason}")
    for warning in warnings:
        tell(f"warning: {printable(warning)}")
