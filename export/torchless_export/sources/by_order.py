"""Names for tensors whose names were lost: nn.Sequential(*network.children()) counts the parts instead of naming them.

The parts' own names inside stay, so the order, these names and the shapes decide.
"""

from torchless_export.sources.architectures import Layout
from torchless_export.sources.checkpoint import State, is_counter

Parts = dict[str, str]


def parts_in_order(state: State, layout: Layout) -> list[Parts]:
    """All ways in which consecutive tensors of `state` are the network's, without its classifier: for each of the
    network's parts, such as layer1, what its names begin with in the file.
    """
    wanted = _wanted(layout)
    if any("." not in name for name in wanted):  # ViT's tokens belong to no part
        return []
    given = [name for name in state if not is_counter(name)]
    starts = range(len(given) - len(wanted) + 1)
    found = (_parts(given[start : start + len(wanted)], state, layout) for start in starts)
    return [parts for parts in found if parts is not None]


def renamed(state: State, parts: Parts) -> tuple[State, State]:
    """The tensors of these parts by the network's names, and the other ones."""
    own: State = {}
    for part, prefix in parts.items():
        own |= {
            f"{part}.{name.removeprefix(prefix)}": value for name, value in state.items() if name.startswith(prefix)
        }
    outside = {name: value for name, value in state.items() if not name.startswith(tuple(parts.values()))}
    return own, outside


def _parts(given: list[str], state: State, layout: Layout) -> Parts | None:
    parts: Parts = {}
    for name, own in zip(given, _wanted(layout), strict=True):
        part, _, inner = own.partition(".")
        prefix = name.removesuffix(inner)
        if not prefix.endswith(".") or parts.setdefault(part, prefix) != prefix:
            return None
        if not layout.allows(own, tuple(state[name].shape)):
            return None
    return parts if len(set(parts.values())) == len(parts) else None


def _wanted(layout: Layout) -> list[str]:
    return [name for name in layout.body if not is_counter(name)]
