"""A served model: loaded, proved where that was asked for, warmed up, and run."""

import errno
import logging
from collections.abc import Sequence
from dataclasses import field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchless.engine.classifier import Classifier
from torchless.engine.devices import is_cpu
from torchless.errors import ArtifactDamagedError, ArtifactNotFoundError, ImageDecodeError
from torchless.image.decode import Decoded
from torchless.records import dataclass
from torchless.serve.errors import OverloadedError
from torchless.serve.jobs import Apart, Prepared, bucket_sizes
from torchless.serve.repository import Key, ModelFile, Origin, State
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")
_OURS = {errno.EMFILE, errno.ENFILE}


@dataclass(eq=False)
class ServedModel:
    """A loaded model, which the batcher runs (jobs.Runnable). `warnings` are sentences for those who see its
    predictions. `file_state` is that of its `file` when it was loaded.
    """

    key: Key
    classifier: Classifier
    warnings: tuple[str, ...] = ()
    file: ModelFile | None = None
    file_state: State = field(default_factory=dict)
    threads_for_many: int = 1
    max_batch_size: int = 1
    apart: Apart | None = None
    max_apart: int = 1

    @property
    def name(self) -> str:
        return self.key.name

    @property
    def version(self) -> str:
        """As the protocol has it."""
        return str(self.key.version)

    @property
    def label(self) -> str:
        """What logs call it."""
        has_folder = self.file is not None and self.file.is_version
        return str(self.key) if has_folder or self.key.version != 1 else self.name

    @property
    def exclusive(self) -> bool:
        return not is_cpu(self.classifier.device)

    def state_of(self, file: ModelFile) -> State:
        """The state of that file now, if it is this model's. Raises ArtifactNotFoundError."""
        return file.state(self.classifier.artifact.file.data_files)

    @property
    def file_changed(self) -> bool:
        """Whether the file that it was loaded from has changed or is gone."""
        try:
            return self.file is not None and self.state_of(self.file) != self.file_state
        except ArtifactNotFoundError:  # it cannot be looked at
            return True

    def decode(self, data: bytes) -> Decoded:
        try:
            return self.classifier.decode_with_warning(data)
        except ImageDecodeError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _OURS:  # not the image's fault
                _LOG.error("an image could not be decoded: %s", error.__cause__)
                raise OverloadedError("the server has too many files open", 1) from None
            raise

    def prepare(self, rgb: Image.Image) -> Prepared:
        return self.classifier.prepare(rgb)

    def run(self, batch: Sequence[Prepared], *, alone: bool) -> NDArray[np.float32]:
        return self.classifier.run(batch, threads=None if alone else self.threads_for_many)

    def warm_up(self) -> None:
        """Runs each batch size once on each session, so that no request pays for ONNX Runtime's first run."""
        (image,) = self.classifier.example()
        for size in bucket_sizes(self.max_batch_size):
            for alone in (True, False):
                self.run([image] * size, alone=alone)

    def describe(self) -> dict[str, Any]:
        """What GET /models says about it."""
        manifest = self.classifier.manifest
        return {
            "name": self.name,
            "version": self.version,
            "classes": len(self.classifier.labels),
            "multi_label": self.classifier.head.multi_label,
            "trained": manifest.is_trained,
            "device": self.classifier.device,
            "image_size": manifest.image_size,
            "warnings": list(self.warnings),
        }


def open_model(key: Key, origin: Origin, settings: Settings, *, prove: bool = False) -> ServedModel:
    """Raises ArtifactError, DeviceError or, where it is to be proved or models test themselves, ProofError."""
    opening, path = settings.opening, origin.path
    classifier, warnings = replace(opening, threads=opening.threads or settings.cpus).open_with_warnings(path)
    told = tuple(warning.replace(str(path), path.name) for warning in warnings)  # clients see them, and no paths
    size = settings.batch_size(exclusive=classifier.device != "cpu")
    model = ServedModel(
        key,
        classifier,
        told,
        origin.file,
        origin.state or {},
        threads_for_many=opening.threads or 1,
        max_batch_size=size,
    )
    if settings.self_test or prove:
        _LOG.info("model %s gives PyTorch's answers on the %s inside it", model.label, _proved(classifier))
    if not origin.is_copy:
        if settings.workers == 1:  # the session for many images is opened now, from the same file
            classifier.run(classifier.example(), threads=model.threads_for_many)
        model.file_state = _unchanged(model, origin)
    return model


def _unchanged(model: ServedModel, origin: Origin) -> State:
    """The state that all of it was loaded in. Raises ArtifactDamagedError."""
    state = model.state_of(origin.file) if origin.file is not None else {}
    if not (model.classifier.is_current and (origin.state or {}).items() <= state.items()):
        raise ArtifactDamagedError(f"{origin.path} changed while it was being loaded; try again")
    return state


def _proved(classifier: Classifier) -> str:
    """How many images it was proved on. Raises ProofError, and EvidenceMissingError where there are none."""
    from torchless.proof.run import require_proof  # only where it was asked for
    from torchless.text import images_text

    return images_text(require_proof(classifier).images)
