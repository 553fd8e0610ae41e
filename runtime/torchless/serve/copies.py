"""Copies of the models for worker processes: whatever happens to the files, all of them load the same bytes."""

import itertools
import shutil
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path

from torchless.errors import UsageError
from torchless.records import dataclass
from torchless.serve.models import ServedModel
from torchless.serve.registry import Registry
from torchless.serve.repository import SIGNATURE, Key, Origin
from torchless.serve.settings import Settings


@dataclass(frozen=True)
class Stock:
    """What workers are to serve, and what was `refused`, with the reason; the later one has the higher `number`."""

    number: int
    pinned: Mapping[Key, Origin]
    refused: Mapping[Key, str] = field(default_factory=dict)


class Copies:
    """The copies in `folder` of what a registry serves."""

    def __init__(self, registry: Registry, settings: Settings, folder: Path) -> None:
        self._registry, self._settings, self._folder = registry, settings, folder
        self._homes, self._stocks = itertools.count(1), itertools.count(1)
        self._origins: dict[ServedModel, Origin] = {}
        self._left: list[tuple[int, Path]] = []  # the stock that was the first without a copy, and its folder

    def take(self, model: ServedModel) -> None:
        """Copies a model's files. Raises UsageError if they have changed since it was loaded."""
        artifact, home = model.classifier.artifact, self._folder / str(next(self._homes))
        signature = (
            [Path(f"{artifact.path}{SIGNATURE}")] if self._settings.opening.require_signature is not None else []
        )
        try:
            home.mkdir()
            for path in (*artifact.files, *signature):
                shutil.copyfile(path, home / path.name)
        except OSError as error:
            shutil.rmtree(home, ignore_errors=True)
            raise UsageError(f"cannot copy {model.label} for the workers: {error.strerror or error}") from None
        if model.file_changed:
            shutil.rmtree(home, ignore_errors=True)
            raise UsageError(f"{artifact.path} changed while it was being loaded; try again")
        self._origins[model] = Origin(home / artifact.path.name, model.file, model.file_state)

    def stock(self) -> Stock:
        """What the registry serves now."""
        number, models = next(self._stocks), self._registry.all()
        for model in self._origins.keys() - set(models):
            self._left.append((number, self._origins.pop(model).path.parent))
        return Stock(number, {model.key: self._origins[model] for model in models}, self._registry.refused)

    def discard(self, oldest: int) -> None:
        """Removes the copies that nobody needs who has the stock of this number, or a later one."""
        for number, home in [*self._left]:
            if number <= oldest:
                self._left.remove((number, home))
                shutil.rmtree(home, ignore_errors=True)
