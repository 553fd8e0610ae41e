"""Model files that are looked at again and again: what has changed is loaded, proved by its evidence, and then served.

A change counts once two looks in a row have seen the same, so that a file that is being copied, or removed and written
again, is left alone. Until the new file has given PyTorch's answers here, the old one serves.
"""

import logging
import threading
from collections.abc import Callable, Mapping

from torchless.errors import ArtifactNotFoundError, TorchlessError
from torchless.serve.models import ServedModel
from torchless.serve.registry import Registry
from torchless.serve.repository import Found, Key, ModelFile, State

_LOG = logging.getLogger("torchless.serve")


class Poller:
    """Looks every `interval_s` seconds, in a thread of its own. `on_change` is called after what is served, or refused,
    has changed.
    """

    def __init__(self, registry: Registry, interval_s: float, on_change: Callable[[], None] = lambda: None) -> None:
        self._registry, self._interval_s, self._on_change = registry, interval_s, on_change
        self._seen: Mapping[Key, State | None] = {model.key: model.file_state for model in registry.all()}
        self._refused: dict[Key, tuple[State | None, str]] = {}
        self._problems: Mapping[str, str] = {}
        self._told: set[str] = set()
        self._stopped = threading.Event()

    def start(self) -> None:
        threading.Thread(target=self._run, name="torchless-poll", daemon=True).start()

    def stop(self) -> None:
        """No other load is begun; one that has begun goes on (Registry.busy)."""
        self._stopped.set()

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                self.look()
            except Exception:  # a defect of ours, which must not end all later looks
                _LOG.exception("unforeseen error while looking for changed models")

    def look(self) -> None:
        """Looks once, and does what is to be done."""
        found, served, refused = self._registry.look(), self._registry.all(), self._registry.refused
        before, self._seen = self._seen, {key: self._state(key, file) for key, file in found.files.items()}
        self._tell(found)
        self._refused = {key: why for key, why in self._refused.items() if key in found.files}
        try:
            for name in dict.fromkeys(key.name for key in [*found.files, *(model.key for model in served)]):
                if not self._stopped.is_set():
                    self._update(name, found, before)
        finally:
            self._registry.refused = {key: reason for key, (_, reason) in self._refused.items()}
            if self._registry.all() != served or self._registry.refused != refused:
                self._on_change()

    def _update(self, name: str, found: Found, before: Mapping[Key, State | None]) -> None:
        """A version that is no longer wanted goes when all that are wanted serve, or where none is, when its file is
        gone; while a folder has a problem, none does.
        """
        served, wanted = self._registry.versions(name), found.of(name)
        models = [model for key, file in wanted.items() if (model := self._newest(key, file, before)) is not None]
        may_go = len(models) == len(wanted) and not found.problems
        others = [model for model in served if model.key not in wanted]
        models += [
            model for model in others if not (may_go and model.key not in before and (wanted or _is_gone(model)))
        ]
        if set(models) != set(served):
            self._registry.replace(name, models)
            for model in set(models) - set(served):
                _LOG.info("model %s is loaded, and serves from now on", model.label)
            for model in others:
                if model not in models:
                    _LOG.info("model %s is unloaded", model.label)

    def _newest(self, key: Key, file: ModelFile, before: Mapping[Key, State | None]) -> ServedModel | None:
        """The model of a file as it is now; the one that is served already if the file is not to be loaded."""
        loaded, state = self._registry.loaded(key), self._seen[key]
        if loaded is not None and loaded.file == file and loaded.file_state == state:
            self._refused.pop(key, None)
            return loaded
        is_steady = key in before and before[key] == state
        if not is_steady or (key in self._refused and self._refused[key][0] == state):
            return loaded
        try:
            model = self._registry.open(key, file.origin())
        except Exception as error:
            self._refused[key] = state, file.without_folder(self._said(key, error, loaded))
            return loaded
        self._refused.pop(key, None)
        return model

    @staticmethod
    def _said(key: Key, error: Exception, loaded: ServedModel | None) -> str:
        """What the log has been told, in short."""
        what = "the one before serves on" if loaded is not None else "it is not served"
        if not isinstance(error, TorchlessError | OSError | MemoryError):
            _LOG.error("model %s was not loaded, and %s", key, what, exc_info=error)
            return "an unforeseen error, which the server's log describes"
        _LOG.error("model %s was not loaded, and %s until its file changes: %s", key, what, error)
        return str(error)

    def _state(self, key: Key, file: ModelFile) -> State | None:
        loaded = self._registry.loaded(key)
        try:
            return loaded.state_of(file) if loaded is not None and loaded.file == file else file.state()
        except ArtifactNotFoundError:  # loading it will say why
            return None

    def _tell(self, found: Found) -> None:
        """Says once what is wrong, if two looks in a row have seen it."""
        before, self._problems = self._problems, found.problems
        steady = {text for text in found.problems.values() if text in before.values()}
        for text in sorted(steady - self._told):
            _LOG.error("%s; what is loaded serves on, and nothing is unloaded", text)
        self._told = (self._told | steady) & set(found.problems.values())


def _is_gone(model: ServedModel) -> bool:
    return model.file is None or model.file.is_gone
