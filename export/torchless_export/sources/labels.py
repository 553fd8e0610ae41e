"""Which labels a model gets: the user's, those in its checkpoint, or those of its builder or its weights."""

from collections.abc import Mapping
from os import PathLike, fspath
from pathlib import Path
from typing import Any, NamedTuple

from torchless.engine.head import check_outputs
from torchless.errors import UsageError
from torchless.model.label_lines import NAMES
from torchless.model.label_order import Labels
from torchless.model.label_values import labels_of
from torchless.model.labels import labels_given, read_labels_file
from torchless.model.manifest import Activation
from torchless_export.sources.files import read_content
from torchless_export.sources.request import ModelRequest


class FoundLabels(NamedTuple):
    """Labels, and the words for where they were found."""

    labels: Labels
    where: str

    @property
    def names(self) -> tuple[str, ...]:
        return self.labels.names

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user may want to check: a form that had to be recognised, and classes of one name."""
        read = f"labels: {len(self.names)} from {self.where}, read as {self.labels.form}"
        twice = f"labels: in {self.where}, {self.labels.twice}"
        return (read,) * (self.labels.form != NAMES) + (twice,) * bool(self.labels.twice)

    def check(self, outputs: int, activation: Activation) -> None:
        """Raises UsageError unless they fit a network with that head: mostly one for each output."""
        form = "" if self.labels.form == NAMES else f", read as {self.labels.form},"
        check_outputs(self.names, outputs, activation, f"{self.where}{form}")


def labels_for(
    request: ModelRequest, own: tuple[str, ...], num_classes: int, activation: Activation
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """One label for each class, and notes for the user: those that the request names; otherwise those in its
    checkpoint; otherwise `own`, which the builder or the weights have; numbers for random weights.

    Raises UsageError where there is not one for each class, and where the checkpoint has the same in another order.
    """
    inside = labels_in(read_content(request.checkpoint), request.checkpoint) if request.checkpoint is not None else None
    found = _given(request, own) or inside
    if found is None and num_classes != len(own) and request.checkpoint is not None:
        raise UsageError(f"the checkpoint has {num_classes} classes; give their names as `labels` (docs/labels.md)")
    if found is None and num_classes == request.num_classes != len(own):
        own = tuple(f"class {index}" for index in range(num_classes))
    found = found or _listed(own)
    found.check(num_classes, activation)
    if inside is not None:
        _check_order(found, inside)
    return found.names, found.notes if found is inside or isinstance(request.labels, Path) else ()


def in_file(path: str | PathLike[str]) -> FoundLabels:
    """The labels in a file. Raises UsageError."""
    return FoundLabels(read_labels_file(path), fspath(path))


def in_value(value: Any, where: str) -> FoundLabels:
    """The labels in a list, {index: name} or {name: index}. Raises UsageError that says `where`."""
    try:
        return FoundLabels(labels_of(value), where)
    except UsageError as error:
        raise UsageError(f"{where}: {error}") from None


def labels_in(content: Any, path: Path) -> FoundLabels | None:
    """What a training script put beside the weights in the file `path`: `class_to_idx` {name: index}, or a list of
    names as `classes`, at the top or among Lightning's `hyper_parameters`. None where there is neither.

    Raises UsageError where they are not one name for each class, or differ.
    """
    found: list[FoundLabels] = []
    for place in (content, content.get("hyper_parameters") if isinstance(content, Mapping) else None):
        for key, value in ((key, place.get(key)) for key in ("class_to_idx", "classes") if isinstance(place, Mapping)):
            if _are_labels(value):
                found.append(in_value(value, f"{key} in {path}"))
    for other in found[1:]:
        if other.names != found[0].names:
            raise UsageError(f"{found[0].where} and {other.where} differ: {_difference(found[0], other)}")
    return found[0] if found else None


def _given(request: ModelRequest, own: tuple[str, ...]) -> FoundLabels | None:
    if isinstance(request.labels, str | PathLike):
        return in_file(request.labels)
    if request.labels is not None:
        return _listed(labels_given(request.labels))
    return _listed(own) if request.builder is not None else None


def _listed(names: tuple[str, ...]) -> FoundLabels:
    return FoundLabels(Labels(names, NAMES), "the list of labels")


def _are_labels(value: Any) -> bool:
    """Other scripts keep a number of classes under these names, or their numbers."""
    if isinstance(value, Mapping):
        return bool(value) and all(isinstance(key, str) for key in value)
    return isinstance(value, list | tuple) and bool(value) and all(isinstance(name, str) for name in value)


def _check_order(found: FoundLabels, inside: FoundLabels) -> None:
    """Raises UsageError where both have the same names in another order: one of them is wrong."""
    if found.names != inside.names and sorted(found.names) == sorted(inside.names):
        raise UsageError(
            f"{found.where} has the names of {inside.where} in another order: {_difference(found, inside)}"
        )


def _difference(first: FoundLabels, second: FoundLabels) -> str:
    for index, (one, other) in enumerate(zip(first.names, second.names, strict=False)):
        if one != other:
            return f"class {index} is {one!r}, or {other!r}"
    return f"{len(first.names)} names, or {len(second.names)}"
