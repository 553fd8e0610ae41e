"""From what a file says of each class to the labels in order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from torchless.errors import UsageError
from torchless.records import dataclass


@dataclass(frozen=True)
class Entry:
    """One class; `place` is where the file says so: "line 3"."""

    index: int
    name: str
    place: str


class Labels(NamedTuple):
    """Labels in order, index 0 first, and the form in which they were given, in words."""

    names: tuple[str, ...]
    form: str

    @property
    def twice(self) -> str:
        """The first name that several classes have, and which, in words; "" if there is none."""
        for name, count in Counter(self.names).items():
            if count > 1:
                classes = [str(index) for index, other in enumerate(self.names) if other == name]
                return f"{name!r} is the name of classes {', '.join(classes[:-1])} and {classes[-1]}"
        return ""


def in_order(entries: Sequence[Entry], form: str) -> Labels:
    """The names by index, without spaces at either end. Raises UsageError where a name is no line of text, and where
    the indices are not 0 to n-1, each once; it says where, and how the file was read.
    """
    if not entries:
        raise UsageError("there are no labels in it")
    entries = [replace(entry, name=entry.name.strip()) for entry in entries]
    for entry in entries:
        _check_name(entry)
    places: dict[int, str] = {}
    for entry in entries:
        if entry.index in places:
            problem = f"class {entry.index} is given twice, by {places[entry.index]} and by {entry.place}"
            raise _refused(problem, entries[0], form)
        places[entry.index] = entry.place
    if sorted(places) == list(range(1, len(places) + 1)):
        problem = f"classes are numbered from 1 to {len(places)}, PyTorch's from 0: subtract 1, or name class 0 too"
        raise _refused(problem, entries[0], form)
    if missing := set(range(len(places))) - places.keys():
        last = max(places)
        problem = f"there is no class {min(missing)}, though {places[last]} is class {last}"
        raise _refused(problem, entries[0], form)
    return Labels(tuple(entry.name for entry in sorted(entries, key=lambda entry: entry.index)), form)


def _check_name(entry: Entry) -> None:
    if not entry.name:
        raise UsageError(f"{entry.place} has no name")
    if "\n" in entry.name or "\r" in entry.name:
        raise UsageError(f"{entry.place} has a name with a line break in it: {entry.name!r}")
    try:
        entry.name.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{entry.place} has a name that is no text: {entry.name!r}") from None


def _refused(problem: str, sample: Entry, form: str) -> UsageError:
    return UsageError(f"{problem} (read as {form}: {sample.place} is class {sample.index}, {sample.name!r})")
