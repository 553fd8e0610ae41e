"""The served models: found on disk by the operator's arguments, loaded, warmed up, replaced and unloaded while requests
run.
"""

import errno
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchless.engine.classifier import Classifier
from torchless.engine.devices import is_cpu
from torchless.errors import ArtifactNotFoundError, ImageDecodeError, UsageError
from torchless.image.decode import Decoded
from torchless.records import dataclass
from torchless.serve.errors import NotFoundError, OverloadedError
from torchless.serve.jobs import Apart, Prepared, bucket_sizes
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")
IMAGE_SUFFIX = "_image"
_OURS = {errno.EMFILE, errno.ENFILE}


@dataclass(eq=False)
class ServedModel:
    """A loaded model, which the batcher runs (jobs.Runnable). `warnings` are sentences for those who see its
    predictions.
    """

    name: str
    classifier: Classifier
    warnings: tuple[str, ...]
    file_state: tuple[int, ...]
    threads_for_many: int
    max_batch_size: int = 1
    apart: Apart | None = None
    max_apart: int = 1

    @property
    def exclusive(self) -> bool:
        return not is_cpu(self.classifier.device)

    def is_from(self, file_state: tuple[int, ...]) -> bool:
        """Whether loading a file in this state would give the same model."""
        return self.file_state == file_state and not self.classifier.artifact.file.data_files

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
            "classes": len(self.classifier.labels),
            "multi_label": self.classifier.head.multi_label,
            "trained": manifest.is_trained,
            "device": self.classifier.device,
            "image_size": manifest.image_size,
            "warnings": list(self.warnings),
        }


class Registry:
    """The models by name. Loading and finding files block; nothing else does. Safe from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._loaded: dict[str, ServedModel] = {}
        self.on_load: Callable[[ServedModel], None] = _nothing  # before a model that a request loads is served
        self._lock = threading.Lock()  # one load at a time: each needs memory for a second model
        self._names = list(settings.pinned or self.find())

    def find(self) -> dict[str, Path]:
        """The model files that the operator named, at this moment: name → path. Raises UsageError if two have one name,
        or if there are none.
        """
        found: dict[str, Path] = {}
        for given in self._settings.models:
            files = sorted(_models_in(given)) if os.path.isdir(given) else [given]
            if not files:
                raise UsageError(f"there is no .onnx file in {given}")
            for path in files:
                if found.setdefault(path.stem, path) != path:
                    raise UsageError(f"{found[path.stem]} and {path} would both be called {path.stem!r}; rename one")
        for name in found:
            if name + IMAGE_SUFFIX in found:
                raise UsageError(
                    f"a model called {name + IMAGE_SUFFIX!r} cannot be served with {name!r}, which uses that name "
                    f"for images"
                )
        return found

    def load_all(self) -> None:
        """Loads what was found at the start. Raises what Classifier raises."""
        for name in self._names:
            self.load(name)

    def load(self, name: str, *, warm_up: bool = False) -> ServedModel:
        """Loads or reloads a model from its file; the old one serves until that has succeeded, and remains if the file
        has not changed and it is to be warmed up, as by a request. Raises ArtifactError,
        DeviceError or, where models test themselves, ProofError.
        """
        with self._lock:
            pinned = self._settings.pinned.get(name)
            path = pinned.path if pinned is not None else self.find().get(name)
            if path is None:
                raise NotFoundError(f"there is no file for a model {name!r}")
            state = pinned.file_state if pinned is not None else _state(path)
            loaded = self._loaded.get(name)
            if warm_up and loaded is not None and loaded.is_from(state):
                return loaded
            model = _load(name, path, self._settings, state)
            if warm_up:
                model.warm_up()
                self.on_load(model)
            self._loaded[name] = model
        for warning in model.warnings:
            _LOG.warning("%s", warning)
        return model

    def unload(self, name: str) -> None:
        """Unloads a model; requests that it already has are still answered. Raises NotFoundError."""
        self.get(name)
        self._loaded.pop(name, None)

    def get(self, name: str | None = None) -> ServedModel:
        """The model of that name, by default the first. Raises NotFoundError."""
        loaded = dict(self._loaded)
        if name is None:
            name = next((known for known in self._names if known in loaded), None) or next(iter(loaded), None)
        if name not in loaded:
            raise NotFoundError(
                f"there is no model {name!r}; there are: {', '.join(loaded) or 'none'}"
                if name
                else "no model is loaded"
            )
        return loaded[name]

    def resolve(self, name: str) -> tuple[ServedModel, bool]:
        """The model for a name of the protocol, and whether that name takes encoded images. Raises NotFoundError."""
        if name not in self._loaded and name.endswith(IMAGE_SUFFIX) and name.removesuffix(IMAGE_SUFFIX) in self._loaded:
            return self.get(name.removesuffix(IMAGE_SUFFIX)), True
        return self.get(name), False

    def file_name(self, name: str) -> str:
        """The name of the file for a name of the protocol."""
        return name if name in self.find() else name.removesuffix(IMAGE_SUFFIX)

    def all(self) -> list[ServedModel]:
        """The loaded models, those of the command line first and in its order."""
        loaded = dict(self._loaded)
        names = [name for name in self._names if name in loaded]
        return [loaded[name] for name in [*names, *(name for name in loaded if name not in names)]]

    def file_changed(self, model: ServedModel) -> bool:
        """Whether the file it was loaded from has changed or is gone."""
        try:
            return _state(self.find_path(model.name)) != model.file_state
        except ArtifactNotFoundError:  # it cannot be looked at
            return True

    def find_path(self, name: str) -> Path | None:
        try:
            return self.find().get(name)
        except UsageError:
            return None


def _nothing(_: ServedModel) -> None:
    pass


def _load(name: str, path: Path, settings: Settings, state: tuple[int, ...]) -> ServedModel:
    opening = settings.opening
    classifier, warnings = replace(opening, threads=opening.threads or settings.cpus).open_with_warnings(path)
    if settings.self_test:
        _LOG.info("model %s gives PyTorch's answers on the %s inside it", name, _proved(classifier))
    told = tuple(warning.replace(str(path), path.name) for warning in warnings)  # clients see them, and no paths
    size = settings.batch_size(exclusive=classifier.device != "cpu")
    return ServedModel(name, classifier, told, state, opening.threads or 1, size)


def _proved(classifier: Classifier) -> str:
    """How many images it was proved on. Raises ProofError, and EvidenceMissingError where there are none."""
    from torchless.proof.run import require_proof  # only where it was asked for
    from torchless.text import images_text

    return images_text(require_proof(classifier).images)


def _models_in(folder: Path) -> Iterator[Path]:
    """Hidden files are skipped: an export has not proved them yet."""
    return (path for path in folder.glob("*.onnx") if not path.name.startswith("."))


def _state(path: Path | None) -> tuple[int, ...]:
    try:
        found = path.stat() if path is not None else None
    except FileNotFoundError:
        found = None
    except OSError as error:
        raise ArtifactNotFoundError(f"cannot read {path}: {error.strerror or error}") from None
    return (found.st_ino, found.st_size, found.st_mtime_ns) if found is not None else ()
