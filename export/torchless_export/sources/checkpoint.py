"""State dicts inside what a checkpoint file holds: under keys, behind prefixes, beside an averaged copy and what else
training leaves.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from torchless.text import printable
from torchless_export.errors import WeightsError

State = dict[str, torch.Tensor]
Shapes = Mapping[str, tuple[int, ...]]

# What DataParallel, torch.compile, FSDP and activation checkpointing put between the parts of a name.
_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
_COUNTERS = ("total_ops", "total_params", "n_averaged")  # of thop, and of torch's averaged models
# torchvision's own older names, with today's: of DenseNet, and of ViT.
_OLD_NAMES = (
    (re.compile(r"(\bdenselayer\d+\.(?:norm|conv))\.([12])\."), r"\1\2."),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
_DEPTH = 6  # of keys in a file
_PARTS = 16  # of a wanted name: torchvision's have nine


class Reading(NamedTuple):
    """One way to read a file: the tensors whose names begin with `prefix` in the state dict under `key` ("" for the
    file itself), as `own` without the prefix, and the other tensors of that state dict as `outside`.
    """

    key: str
    prefix: str
    own: State
    outside: State

    @property
    def dotted(self) -> str:
        """The key that leads to these tensors alone."""
        return ".".join(part for part in (self.key, self.prefix.rstrip(".")) if part)


class StateDict(NamedTuple):
    """Names and tensors, and the dotted key under which a file has them, "" for the file itself."""

    key: str
    tensors: State


def state_dicts(content: Any, path: Path, *, key: str | None = None) -> list[StateDict]:
    """All mappings of names to tensors in a file's content, or in what it holds under the dotted `key`; the last part
    of `key` may also be what names in a state dict begin with.

    Raises WeightsError if there is none.
    """
    if (inner := content if key is None else _under(content, key)) is not None:
        found = [StateDict(at, state) for at, state in _walk(inner, key or "")]
        if found:
            return found
    if key is None and _is_optimizer(content):
        raise WeightsError(
            f"{path} is the state of an optimizer, which has no weights of a network. Where the network is at hand:\n"
            f"    import torch\n    torch.save(model.state_dict(), {path.stem + '-state-dict.pth'!r})"
        )
    known = some([at for at, _ in _walk(content, "") if at])
    where = "" if key is None else f" under {key!r}"
    raise WeightsError(
        f"{path} holds no state dict (names and tensors){where}, but {_kind_of(content)}"
        + (f"; there are state dicts under {known}" if known else "")
    )


def readings(found: list[StateDict], wanted: Shapes) -> list[Reading]:
    """Every way to read the state dicts in which one of the names `wanted` occurs, those with most of them first."""
    ways = [(number, state, prefix) for state in found for prefix, number in _prefixes(state, wanted).items()]
    ways.sort(key=lambda way: way[0], reverse=True)
    return [_reading(state, prefix) for _, state, prefix in ways]


def averaged(reading: Reading) -> int:
    """How often a key or prefix says that this is an averaged copy, which is what training evaluates and publishes."""
    words = re.split(r"[._]", reading.dotted)
    return sum(word in ("ema", "swa", "averaged") for word in words)


def tidy(state: State, wanted: Shapes) -> tuple[State, list[str]]:
    """The state with torchvision's names of today, without what wrappers put into names; and the names of counters
    that were left out.
    """
    counters = [name for name in state if name.rpartition(".")[2] in _COUNTERS and name not in wanted]
    state = {name: value for name, value in state.items() if name not in counters}
    wrapped = {part for part in _WRAPPERS if not any(part in name.split(".") for name in wanted)}
    names = [".".join(part for part in name.split(".") if part not in wrapped) for name in state]
    for old, new in _OLD_NAMES:
        if not any(old.search(name) for name in wanted):
            names = [old.sub(new, name) for name in names]
    if len(set(names)) < len(names):  # two copies of a network, with and without a wrapper
        return state, counters
    return dict(zip(names, state.values(), strict=True)), counters


def is_counter(name: str) -> bool:
    """Whether this counts training steps: old checkpoints lack it, torch lets it be missing, no evaluation reads it."""
    return name.endswith("num_batches_tracked")


def some(names: Iterable[str]) -> str:
    """The first three names, for a message."""
    names = [printable(name) for name in names]
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _prefixes(state: StateDict, wanted: Shapes) -> Counter[str]:
    """What stands before a wanted name, with the number of names that it stands before."""
    names = {name for name in wanted if not is_counter(name)}
    found: Counter[str] = Counter()
    for name in state.tensors:
        parts = name.split(".")[-_PARTS:]
        endings = (".".join(parts[start:]) for start in range(len(parts)))
        found.update(name.removesuffix(ending) for ending in endings if ending in names)
    return found


def _reading(state: StateDict, prefix: str) -> Reading:
    own = {name[len(prefix) :]: value for name, value in state.tensors.items() if name.startswith(prefix)}
    outside = {name: value for name, value in state.tensors.items() if not name.startswith(prefix)}
    return Reading(state.key, prefix, own, outside)


def _under(content: Any, key: str) -> Any:
    """What `content` has under a dotted key; None if there is nothing. Keys may contain dots themselves."""
    if not isinstance(content, Mapping):
        return None
    if key in content:
        return content[key]
    for dot in (match.start() for match in re.finditer(r"\.", key)):
        if (inner := _under(content.get(key[:dot]), key[dot + 1 :])) is not None:
            return inner
    prefix = f"{key}."
    return {str(name)[len(prefix) :]: value for name, value in content.items() if str(name).startswith(prefix)} or None


def _walk(content: Any, key: str, depth: int = 0) -> Iterator[tuple[str, State]]:
    """The mappings that hold tensors, with their dotted keys; an optimizer's are left out."""
    if isinstance(content, list | tuple):
        content = dict(enumerate(content))
    if not isinstance(content, Mapping) or _is_optimizer(content) or depth > _DEPTH:
        return
    if any(isinstance(value, torch.Tensor) and value.ndim > 0 for value in content.values()):
        yield key, {str(name): value for name, value in content.items() if isinstance(value, torch.Tensor)}
    for name, value in content.items():
        yield from _walk(value, f"{key}.{name}" if key else str(name), depth + 1)


def _is_optimizer(content: Any) -> bool:
    return isinstance(content, Mapping) and {"state", "param_groups"} <= content.keys()


def _kind_of(content: Any) -> str:
    return (
        f"a mapping with {some(map(str, content))}" if isinstance(content, Mapping) else f"a {type(content).__name__}"
    )
