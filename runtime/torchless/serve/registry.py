"""The models by name and version: found, loaded, replaced and unloaded while requests run."""

import logging
import os
import threading
from collections.abc import Callable, Iterable, Mapping

from torchless.serve.errors import NotFoundError
from torchless.serve.models import ServedModel, open_model
from torchless.serve.repository import IMAGE_SUFFIX, Found, Key, ModelFile, Origin, check, find_models
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")


class Registry:
    """Loading and finding files block; nothing else does. Safe from any thread.

    `refused` has the reason for each version whose newest file is not served, where files are looked at again.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._folders = frozenset(path for path in settings.models if os.path.isdir(path))
        self._served: Mapping[str, tuple[ServedModel, ...]] = {}  # replaced as a whole: whoever has it sees no change
        self.refused: Mapping[Key, str] = {}
        self.on_load: Callable[[ServedModel], None] = _nothing  # before a model that comes later is served
        self._loading, self._changing = threading.Lock(), threading.Lock()  # each load needs memory for another model
        self._first = dict(settings.pinned) or dict.fromkeys(self._found_first())

    def _found_first(self) -> Mapping[Key, ModelFile]:
        found = self.find()
        for sentence in found.passed_over:
            _LOG.warning("%s", sentence)
        return found.files

    def look(self) -> Found:
        """The model files that the operator named, at this moment."""
        return find_models(self._settings.models, self._settings.versions, folders=self._folders)

    def find(self) -> Found:
        """The same. Raises UsageError for a problem: two models have one name, or there are none, for example."""
        return check(self.look())

    def load_all(self) -> None:
        """Loads what was found at the start. Raises what open_model raises."""
        files = self.look().files if not self._settings.pinned else {}
        for key, pinned in self._first.items():
            model = self._open(key, pinned or files[key].origin())
            self.replace(key.name, [*self.versions(key.name), model])

    def load(self, name: str) -> None:
        """Loads or reloads the versions that are to be served of a model of the protocol; those that it had serve until
        that has succeeded, and one whose file has not changed remains. Raises what open_model raises, and
        NotFoundError.
        """
        with self._loading:
            found = self.find()
            files = found.of(name) or found.of(name.removesuffix(IMAGE_SUFFIX))
            if not files:
                raise NotFoundError(f"there is no file for a model {name!r}")
            models = [self._current(key, file) or self._open_warm(key, file.origin()) for key, file in files.items()]
            self.replace(models[0].name, models)

    def open(self, key: Key, origin: Origin) -> ServedModel:
        """A model that gives PyTorch's answers here, ready to be served. Raises what open_model raises."""
        with self._loading:
            return self._open_warm(key, origin, prove=True)

    def adopt(self, pinned: Mapping[Key, Origin], refused: Mapping[Key, str]) -> None:
        """Serves these copies, and no others. Raises what open_model raises."""
        with self._loading:
            for name in dict.fromkeys([*(key.name for key in pinned), *self._served]):
                wanted = {key: origin for key, origin in pinned.items() if key.name == name}
                self.replace(name, [self._same(key, one) or self._open_warm(key, one) for key, one in wanted.items()])
        self.refused = refused

    def replace(self, name: str, models: Iterable[ServedModel]) -> None:
        """From now on, these are the versions of a model; requests that others of it have are still answered."""
        versions = tuple(sorted(models, key=lambda model: model.key, reverse=True))
        with self._changing:
            served = {**self._served, name: versions}
            names = dict.fromkeys([*(key.name for key in self._first), *served])
            self._served = {each: served[each] for each in names if served.get(each)}

    def unload(self, name: str) -> None:
        """Unloads a model of the protocol, all its versions. Raises NotFoundError."""
        self.replace(self.resolve(name)[0].name, ())

    @property
    def busy(self) -> bool:
        """Whether a model is being loaded."""
        return self._loading.locked()

    def all(self) -> list[ServedModel]:
        """The loaded models, those of the command line first and in its order; of each the newest version first."""
        return [model for versions in self._served.values() for model in versions]

    def versions(self, name: str) -> tuple[ServedModel, ...]:
        """Those of a model that are loaded, the newest first."""
        return self._served.get(name, ())

    def loaded(self, key: Key) -> ServedModel | None:
        return next((model for model in self.versions(key.name) if model.key == key), None)

    def get(self, name: str | None = None, version: str = "") -> ServedModel:
        """The model of that name, by default the first, in that version, by default the newest. Raises
        NotFoundError.
        """
        served = self._served
        versions = served.get(name, ()) if name is not None else next(iter(served.values()), ())
        for model in versions:
            if version in ("", model.version):
                return model
        if versions:
            there = ", ".join(model.version for model in versions)
            raise NotFoundError(f"{versions[0].name} has no version {version[:40]!r}; it has {there}")
        raise NotFoundError(
            f"there is no model {name!r}; there are: {', '.join(served) or 'none'}"
            if name is not None
            else "no model is loaded"
        )

    def named(self, text: str | None) -> ServedModel:
        """The model that NAME or NAME/VERSION means, by default the first. Raises NotFoundError."""
        name, slash, version = (text or "").rpartition("/")
        return self.get(name, version) if slash and version and name in self._served else self.get(text)

    def resolve(self, name: str, version: str = "") -> tuple[ServedModel, bool]:
        """The model for a name of the protocol, and whether that name takes encoded images. Raises NotFoundError."""
        base = name.removesuffix(IMAGE_SUFFIX)
        encoded = name not in self._served and base in self._served
        return self.get(base if encoded else name, version), encoded

    def _current(self, key: Key, file: ModelFile) -> ServedModel | None:
        """The model that loading this file would give, if it is loaded already."""
        model = self.loaded(key)
        return model if model is not None and model.file == file and not model.file_changed else None

    def _same(self, key: Key, origin: Origin) -> ServedModel | None:
        model = self.loaded(key)
        return model if model is not None and model.classifier.artifact.path == origin.path else None

    def _open_warm(self, key: Key, origin: Origin, *, prove: bool = False) -> ServedModel:
        model = self._open(key, origin, prove=prove)
        if self._settings.workers == 1 or origin.is_copy:  # the parent of workers runs nothing but the proof
            model.warm_up()
        self.on_load(model)
        return model

    def _open(self, key: Key, origin: Origin, *, prove: bool = False) -> ServedModel:
        model = open_model(key, origin, self._settings, prove=prove)
        for warning in model.warnings:
            _LOG.warning("%s", warning)
        return model


def _nothing(_: ServedModel) -> None:
    pass
