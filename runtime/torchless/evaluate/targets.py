"""From the names that labelled data has for classes to the model's indices. An ambiguous name is refused, never
guessed.
"""

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from torchless.errors import UsageError
from torchless.model.labels import read_labels

_IMAGENET_CLASSES, _SHOWN = 1000, 3
_WORDNET_ID = re.compile(r"n\d{8}", re.ASCII)
_WHOLE_NUMBER = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_SPLITS = {"train", "training", "val", "valid", "validation", "test"}
_WAY_OUT = "say which folder or label is which class with `class_map` FILE"


class Targets:
    """The classes of one model, by the names that the data has for them. `class_map` is a file that read_class_map
    reads.
    """

    def __init__(self, labels: tuple[str, ...], class_map: Path | None = None) -> None:
        self.labels = labels
        self._by_label: dict[str, list[int]] = {}
        for index, label in enumerate(labels):
            self._by_label.setdefault(label, []).append(index)
        self._map: dict[str, int] | None = None
        self._map_path = class_map
        if class_map is not None:
            self._map = self._resolved(class_map)

    def index(self, value: int) -> int:
        """`value`, if the model has such a class; otherwise raises UsageError."""
        if not 0 <= value < len(self.labels):
            raise UsageError(
                f"there is no class {value}: the model has {len(self.labels)} classes, 0 to {len(self.labels) - 1}"
            )
        return value

    def knows(self, name: str) -> bool:
        """Whether it is the name of a class: in the class map if there is one, otherwise a label."""
        return name in (self._by_label if self._map is None else self._map)

    def of_folders(self, names: Iterable[str]) -> dict[str, int]:
        """The index of each class folder, by name. Raises UsageError if the names do not determine it."""
        names = sorted(names)
        wordnet = all(map(_WORDNET_ID.fullmatch, names)) and not all(name in self._by_label for name in names)
        if self._map is not None or not wordnet:
            return self.of_names(dict.fromkeys(names, ""))
        if len(names) != _IMAGENET_CLASSES:
            raise UsageError(
                f"{len(names)} of the 1,000 folders with WordNet ids do not determine their indices (all of them, "
                f"sorted, would); {_WAY_OUT}"
            )
        if len(self.labels) != _IMAGENET_CLASSES:
            raise UsageError(
                f"there are 1,000 folders with WordNet ids, one for each ImageNet class, but the model has "
                f"{len(self.labels)} classes"
            )
        return {name: index for index, name in enumerate(names)}

    def of_names(self, names: Mapping[str, str]) -> dict[str, int]:
        """The index of each name, given with where it was found (" (line 7)").

        Names are looked up in the class map if there is one; otherwise all are labels of the model, or all are whole
        numbers, its indices.
        """
        if self._map is not None:
            return self._mapped(names, self._map)
        if not names:
            return {}
        labels, indices = self._as_labels(names), self._as_indices(names)
        if labels and indices and labels != indices:
            raise UsageError(
                f"{_listed(names)}: labels of the model, and indices of other classes; {_WAY_OUT}, or give a "
                f"column index"
            )
        if found := labels or indices:
            return found
        if all(map(_WHOLE_NUMBER.fullmatch, names)):
            for name, place in names.items():
                self._index_at(name, place)
        raise self._unknown(names)

    def _as_labels(self, names: Mapping[str, str]) -> dict[str, int] | None:
        if any(name not in self._by_label for name in names):
            return None
        for name, place in names.items():
            if len(self._by_label[name]) > 1:
                raise UsageError(
                    f"{name!r}{place} is the label of classes {' and '.join(map(str, self._by_label[name]))}: "
                    f"use indices instead of labels, or {_WAY_OUT}"
                )
        return {name: self._by_label[name][0] for name in names}

    def _as_indices(self, names: Mapping[str, str]) -> dict[str, int] | None:
        if not all(map(_WHOLE_NUMBER.fullmatch, names)):
            return None
        return {name: int(name) for name in names} if all(0 <= int(name) < len(self.labels) for name in names) else None

    def _index_at(self, name: str, place: str) -> int:
        try:
            return self.index(int(name))
        except UsageError as error:
            raise UsageError(f"{error}{place}") from None

    def _unknown(self, names: Mapping[str, str]) -> UsageError:
        unknown = {name: place for name, place in names.items() if name not in self._by_label}
        if len(unknown) == len(names) and set(names) <= _SPLITS:
            return UsageError(f"the folders are {_listed(names)}: name the one to evaluate")
        (first, *_), labels = unknown, dict.fromkeys(self.labels)
        close = get_close_matches(first, labels, n=1, cutoff=0.8)
        hint = (
            f" (did you mean {close[0]!r}?)"
            if close
            else f"; the model's labels are {_listed(dict.fromkeys(labels, ''))}"
        )
        return UsageError(
            f"{len(unknown)} of {len(names)} class names are not labels of the model: {_listed(unknown)}{hint}; "
            f"{_WAY_OUT}"
        )

    def _mapped(self, names: Mapping[str, str], class_map: Mapping[str, int]) -> dict[str, int]:
        missing = {name: place for name, place in names.items() if name not in class_map}
        if missing:
            raise UsageError(
                f"{len(missing)} of {len(names)} class names are not in {self._map_path}: {_listed(missing)}"
            )
        return {name: class_map[name] for name in names}

    def _resolved(self, path: Path) -> dict[str, int]:
        given = read_class_map(path)
        try:
            texts = self.of_names({value: "" for value in given.values() if isinstance(value, str)})
            return {
                name: self.index(value) if isinstance(value, int) else texts[value] for name, value in given.items()
            }
        except UsageError as error:
            raise UsageError(f"class map {path}: {error}") from None


def read_class_map(path: Path) -> dict[str, int | str]:
    """What a class map says for each name: the index or the label of its class.

    A .json file holds an object {name: index or label}, like class_to_idx of torchvision's ImageFolder. Any other file
    is text with one name per line, class 0 first. Raises UsageError.
    """
    if path.suffix.lower() != ".json":
        return {name: index for index, name in enumerate(_unique(read_labels(path), path))}
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"class map {path}: {error}") from None
    if not isinstance(found, dict) or not all(type(value) in (int, str) for value in found.values()):
        raise UsageError(f"class map {path}: expected one JSON object from names to indices or labels of the model")
    return found


def _unique(names: tuple[str, ...], path: Path) -> tuple[str, ...]:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"class map {path}: {twice!r} occurs twice")
    return names


def _listed(names: Mapping[str, str]) -> str:
    shown = [f"{name!r}{place}" for name, place in list(names.items())[:_SHOWN]]
    return ", ".join([*shown, "…"] if len(names) > _SHOWN else shown)
