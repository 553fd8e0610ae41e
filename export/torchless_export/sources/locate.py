"""Which of a file's tensors are the network's, which are its classifier's, and what lies beside them."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from torchless_export.errors import WeightsError
from torchless_export.sources.architectures import Layout
from torchless_export.sources.by_order import parts_in_order, renamed
from torchless_export.sources.checkpoint import (
    Reading,
    Shapes,
    State,
    StateDict,
    averaged,
    is_counter,
    readings,
    some,
    state_dicts,
    tidy,
)
from torchless_export.sources.files import read_content
from torchless_export.sources.heads import is_index

# What training uses beside the network has such names, even where it has layers of its own.
_TRAINING = re.compile(r"(^|[._])(aux|criteri|discriminator|loss|metric|teacher)\w*([._]|$)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The state dicts of a file, in torchvision's names of today; `counters` are names that were left out of them."""

    path: Path
    state_dicts: list[StateDict]
    counters: list[str]


@dataclass(frozen=True, kw_only=True)
class Located:
    """A network's tensors: `own` by its names, `head` by its classifier's. `surplus` are names of tensors inside the
    network that it does not have, `left` of those beside it. `notes` tell what was chosen, `assumed` whether it might
    be otherwise.
    """

    reading: Reading
    own: State
    head: State
    surplus: list[str]
    left: list[str]
    notes: tuple[str, ...]
    assumed: bool = False


def candidates_in(path: Path, key: str | None, wanted: Shapes) -> Candidates:
    """All state dicts of the file, or those under `key`. Raises WeightsError if there is none."""
    found, counters = [], []
    for at, tensors in state_dicts(read_content(path), path, key=key):
        state, left = tidy(tensors, wanted)
        found.append(StateDict(at, state))
        counters += left
    return Candidates(path=path, state_dicts=found, counters=counters)


def locate(candidates: Candidates, wanted: Shapes, head: str | None = None) -> Located | None:
    """The tensors in which all names `wanted` occur; those that begin with `head` may have other names below it. None
    if there are none.
    """
    body = [name for name in wanted if not is_counter(name) and (head is None or not name.startswith(f"{head}."))]
    ways = [way for way in readings(candidates.state_dicts, wanted) if all(name in way.own for name in body)]
    if not ways:
        return None
    chosen, *others = sorted(ways, key=averaged, reverse=True)
    copies, tops = [way.prefix for way in others if way.key == chosen.key], _tops(wanted)

    def is_copy(name: str) -> bool:
        return any(name.startswith(prefix) and _is_part(name[len(prefix) :], tops) for prefix in copies)

    own = {name: value for name, value in chosen.own.items() if not is_copy(chosen.prefix + name)}
    outside = {name: value for name, value in chosen.outside.items() if not is_copy(name)}
    notes = _choice(chosen, others, candidates.path)
    return _located(chosen._replace(own=own, outside=outside), wanted, head, notes)


def locate_in_order(candidates: Candidates, layout: Layout) -> Located | None:
    """The tensors that have the network's order and shapes, where there is exactly one such way."""
    ways = [(found, parts) for found in candidates.state_dicts for parts in parts_in_order(found.tensors, layout)]
    if len(ways) != 1:
        return None
    ((found, parts),) = ways
    own, outside = renamed(found.tensors, parts)
    names = ", ".join(f"{prefix[:-1]} is {part}" for part, prefix in parts.items())
    note = f"names are lost in {candidates.path.name}, so the order and the shapes decide: {names}"
    reading = Reading(found.key, "", own, outside)
    return _located(reading, layout.shapes, layout.head, (note,), assumed=True)


def with_head_beside(located: Located) -> Located:
    """Where the network has no classifier of its own, the layers beside it are taken for it."""
    outside = located.reading.outside
    beside = [name for name in located.left if name in outside and not _TRAINING.search(name)]
    modules = {_module(name) for name in beside if _is_layer(name, outside[name])}
    taken = [name for name in beside if _module(name) in modules]
    if located.head or not taken:
        return located
    inner = _below_common([name.split(".") for name in taken])
    if all(is_index(parts[0]) for parts in inner):  # the last of a Sequential's modules, of which the network was one
        first = min(int(parts[0]) for parts in inner)
        inner = [[str(int(parts[0]) - first), *parts[1:]] for parts in inner]
    head = {".".join(parts): outside[name] for name, parts in zip(taken, inner, strict=True)}
    note = f"took the classifier from beside the network: {some(taken)}"
    left = [name for name in located.left if name not in taken]
    return replace(located, head=head, left=left, notes=(*located.notes, note), assumed=True)


def nearest(candidates: Candidates, wanted: Shapes) -> Reading:
    """The way to read the file in which most of the names occur, for an error message."""
    found = candidates.state_dicts[0]
    return next(iter(readings(candidates.state_dicts, wanted)), Reading(found.key, "", found.tensors, {}))


def check_left(located: Located, path: Path, name: str) -> None:
    """Raises WeightsError where layers lie beside the network, which may be part of it; training's own are known by
    their names.
    """
    reading = located.reading
    tensors = reading.outside | reading.own
    strangers = [key for key in located.left if _is_layer(key, tensors[key]) and not _TRAINING.search(key)]
    if strangers:
        alone = f"`checkpoint_key` {reading.dotted} takes the network without them; " if reading.prefix else ""
        raise WeightsError(
            f"{path} has layers that {name} does not have, and they may change its answers: {some(strangers)}. "
            f"{alone}`builder` takes a network with them"
        )


def left_out(located: Located, candidates: Candidates) -> tuple[str, ...]:
    """The line that says what of the file is not used; none if all is."""
    names = list(dict.fromkeys([*located.left, *candidates.counters]))
    if not names:
        return ()
    tensors = "1 tensor" if len(names) == 1 else f"{len(names)} tensors"
    note = f"left out of {candidates.path.name}: {tensors}, {some(names)}"
    scales = [name for name in located.left if name.rpartition(".")[2] in ("mean", "std")]
    if len(scales) > 1:
        note += f". With {some(scales)} it may have normalised images itself; give them as `mean` and `std` then"
    return (note,)


def _located(
    reading: Reading, wanted: Shapes, head: str | None, notes: tuple[str, ...], *, assumed: bool = False
) -> Located:
    below = f"{head}." if head is not None else None
    inside = [name for name in reading.own if below is not None and name.startswith(below)]
    extra = [name for name in reading.own if name not in wanted and name not in inside]
    tops = _tops(wanted)
    surplus = [name for name in extra if _is_part(name, tops)]
    left = [*(name for name in extra if name not in surplus), *reading.outside]
    own = {name: value for name, value in reading.own.items() if name in wanted and name not in inside}
    tensors = {name[len(head or "") + 1 :]: reading.own[name] for name in inside}
    return Located(reading=reading, own=own, head=tensors, surplus=surplus, left=left, notes=notes, assumed=assumed)


def _choice(chosen: Reading, others: list[Reading], path: Path) -> tuple[str, ...]:
    key = chosen.dotted if chosen.outside or others else chosen.key
    if not key and not others:
        return ()
    note = (
        f"took the weights under {key!r} in {path.name}" if key else f"took the weights without prefix in {path.name}"
    )
    keys = some(other.dotted or "no prefix" for other in others)
    return (f"{note}; there are others under {keys}: `checkpoint_key` chooses" if keys else note,)


def _below_common(names: list[list[str]]) -> list[list[str]]:
    """Names in parts, without the modules that all of them are in."""
    while len({parts[0] for parts in names}) == 1 and min(map(len, names)) > 1:
        names = [parts[1:] for parts in names]
    return names


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _tops(wanted: Shapes) -> set[str]:
    """The names of a network's own parts."""
    return {name.partition(".")[0] for name in wanted}


def _is_part(name: str, tops: set[str]) -> bool:
    """Whether a tensor of that name would be inside one of these parts, or a further one of a Sequential's."""
    top = name.partition(".")[0]
    return top in tops or (top.isdecimal() and any(own.isdecimal() for own in tops))


def _is_layer(name: str, value: torch.Tensor) -> bool:
    last = name.rpartition(".")[2]
    return last == "running_mean" or (value.ndim > 1 and "weight" in last)
