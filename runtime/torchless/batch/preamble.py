"""What commands have in common that open a model: its files given by options, what its user is told."""

import contextlib
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.errors import ArtifactError, UsageError
from torchless.process import tell

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier
    from torchless.model.manifest import Manifest
    from torchless.model.onnxfile import OnnxFile


class Doubts(threading.Thread):
    """Reads the whole model file for its seal while ONNX Runtime loads it, so that a cold start does not take longer for it; or looks at
    the `file` that was loaded, where that is no longer what counts on disk.
    """

    def __init__(self, model: Path, file: "OnnxFile | None" = None) -> None:
        super().__init__(daemon=True)
        self._model, self._file = model, file
        self._found: tuple[str, ...] = ()
        self.start()

    def run(self) -> None:
        from torchless.model.artifact import Artifact, manifest_of
        from torchless.model.onnxfile import read_onnx

        with contextlib.suppress(ArtifactError):  # Classifier meets the same one, and says so
            file = self._file or read_onnx(self._model)
            manifest = manifest_of(file)
            self._found = Artifact(file, manifest).doubts() if manifest is not None else ()

    def found(self) -> tuple[str, ...]:
        """None for a file without a manifest: whoever describes a file by hand knows that nobody has proved it."""
        self.join()
        return self._found


def tell_beforehand(classifier: "Classifier", device: str, workers: int, doubts: Doubts) -> None:
    """What a user should know before the first result: with the device "auto" what that came to be; and why not to trust the model."""
    if device == "auto":
        reason = f"; the GPU cannot be used: {classifier.device_note}" if classifier.device_note else ""
        threads = f", {classifier.threads} thread{'s' * (classifier.threads > 1)}" if classifier.device == "cpu" else ""
        shared = f", {workers} workers" if workers > 1 else ""
        tell(f"device: {classifier.device}{shared}{threads}{reason}")
    if not classifier.manifest.is_trained:
        from torchless.text import UNTRAINED

        tell(f"warning: {classifier.manifest.model.name} is {UNTRAINED}")
    for doubt in doubts.found():
        tell(f"warning: {doubt}")


def given_labels(path: Path | None) -> tuple[str, ...] | None:
    """The labels of --labels."""
    if path is None:
        return None
    from torchless.model.labels import read_labels

    return read_labels(path)


def given_manifest(path: Path | None) -> "Manifest | None":
    """The manifest of --manifest. Raises UsageError for a file that is none."""
    if path is None:
        return None
    from torchless.model.manifest import Manifest

    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ArtifactError) as error:
        raise UsageError(f"cannot read --manifest {path}: {error}") from None
