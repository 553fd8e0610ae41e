"""What a served model was loaded from, byte for byte, for other processes to load."""

from dataclasses import field, replace
from pathlib import Path

from torchless.model.onnxfile import HeldFiles, read_onnx
from torchless.records import dataclass
from torchless.serve.models import ServedModel
from torchless.serve.repository import Key
from torchless.serve.settings import Settings


@dataclass(frozen=True)
class Content:
    """`key` is the model's, and never another's; at most `max_batch_size` images run at once."""

    key: int
    model: Key
    path: Path
    max_batch_size: int
    held: HeldFiles = field(repr=False)

    def open(self, settings: Settings) -> ServedModel:
        """The model on one processor, warm. Its signature was checked where it was loaded first."""
        opening = replace(settings.opening, device="cpu", threads=1, require_signature=None, max_gpu_bytes=None)
        classifier = opening.open(read_onnx(self.path, held=self.held))
        model = ServedModel(self.model, classifier, max_batch_size=self.max_batch_size)
        model.warm_up()
        return model


def content_of(model: ServedModel, key: int) -> Content | None:
    """None if the files are no longer those that were loaded."""
    classifier = model.classifier
    held = classifier.file.held
    if held is None:
        try:
            (_, own), *others = ((path.name, path.read_bytes()) for path in classifier.artifact.files)
        except OSError:
            return None
        if not classifier.is_current:
            return None
        held = HeldFiles(own, dict(others))
    return Content(key, model.key, classifier.artifact.path, model.max_apart, held)
