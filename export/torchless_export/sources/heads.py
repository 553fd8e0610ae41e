"""Classifiers that were replaced before training, built again from the names and shapes of their tensors.

A state dict does not show layers without weights. In a Sequential they leave gaps between the numbers, which are filled
where only one filling makes sense to a person: Dropout before the first layer, ReLU (and Dropout) between two. What was
filled in is said. UnknownHeadError where it cannot be known.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from torchless_export.sources.checkpoint import State

# Names and tensors, as nested as the modules were: {"1": {"weight": …, "bias": …}}.
Tree = dict[str, Any]

_MOST_IN_A_GAP = 2  # modules without weights between two layers: an activation, and Dropout


class UnknownHeadError(Exception):
    """The tensors do not say what the classifier was; the text says why."""


@dataclass
class _Rebuilding:
    """`original` is torchvision's classifier, `features` what the next layer gets, `maps` whether that still has the
    shape (N, features, 1, 1), and `taken` what was taken for granted on the way.
    """

    original: nn.Module
    features: int
    maps: bool
    taken: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A classifier of `classes` with the shapes of the file, and its `tensors` by the module's own names. `taken` says
    what was taken for granted about layers without weights.
    """

    module: nn.Module
    tensors: State
    classes: int
    taken: tuple[str, ...]


def rebuild(original: nn.Module, tensors: State, name: str) -> Head:
    """The classifier whose `tensors` these are, in place of torchvision's `original`, which is called `name`. Layers of
    the original that have the tensors' shapes are kept. Raises UnknownHeadError.
    """
    work = _Rebuilding(original, _features(original), maps=_has(original, nn.Flatten))
    tree = nested(tensors)
    module = _in_place(tree, name, work)
    if module is None:
        if _has(original, nn.AdaptiveAvgPool2d):
            raise UnknownHeadError(f"torchvision's {name} pools the features itself, and the file does not show where")
        module = _new(tree, name, work)
    if work.maps:
        if kept(original, tree) is not None:
            raise UnknownHeadError(f"the features are not flattened between {name}.0 and the next layer")
        module = nn.Sequential(nn.Flatten(1), module)
        tensors = {f"1.{key}": value for key, value in tensors.items()}
        work.taken.append(f"the features are flattened before {name}")
    return Head(module=module, tensors=tensors, classes=work.features, taken=tuple(work.taken))


def nested(tensors: State) -> Tree:
    """Names and tensors as a tree of modules."""
    tree: Tree = {}
    for name, value in tensors.items():
        *modules, last = name.split(".")
        branch = tree
        for module in modules:
            branch = branch.setdefault(module, {})
            if not isinstance(branch, dict):
                raise UnknownHeadError(f"{name} is below a tensor")
        branch[last] = value
    return tree


def is_sequence(tree: Tree) -> bool:
    """Whether these are the numbered layers of a Sequential."""
    return bool(tree) and all(is_index(name) and isinstance(inner, dict) for name, inner in tree.items())


def is_index(name: str) -> bool:
    """Whether it is a place in a Sequential: below 1000, since a file may say any number, and each place before it is
    filled.
    """
    return name.isdecimal() and len(name) < 4


def layer(tree: Tree) -> nn.Linear | nn.BatchNorm1d | None:
    """The layer with these tensors; None if it is neither of these two."""
    weight, names = tree.get("weight"), tree.keys() - {"num_batches_tracked"}
    if not all(isinstance(value, torch.Tensor) for value in tree.values()):
        return None
    if isinstance(weight, torch.Tensor) and weight.ndim == 2 and names <= {"weight", "bias"}:
        return nn.Linear(weight.shape[1], weight.shape[0], bias="bias" in names)
    if {"running_mean", "running_var"} <= names <= {"weight", "bias", "running_mean", "running_var"}:
        return nn.BatchNorm1d(len(tree["running_mean"]), affine="weight" in names)
    return None


def describe(module: nn.Module) -> str:
    """The layers of a classifier, in one line."""
    if isinstance(module, nn.Linear):
        return f"Linear({module.in_features}, {module.out_features})"
    return ", ".join(map(describe, module.children())) or type(module).__name__


def kept(original: nn.Module, tree: Tree) -> nn.Module | None:
    """The norm with which torchvision's classifier begins, if the tensors begin with one of its shape."""
    first = original[0] if isinstance(original, nn.Sequential) else None
    inner = tree.get("0")
    return first if isinstance(first, nn.LayerNorm) and isinstance(inner, dict) and _fits(first, inner) else None


def _in_place(tree: Tree, name: str, work: _Rebuilding) -> nn.Module | None:
    """torchvision's Sequential with the layers that differ replaced; None where the tensors are in other places."""
    original, children = work.original, dict(work.original.named_children())
    weighty = [child for child, module in children.items() if module.state_dict()]
    if not isinstance(original, nn.Sequential) or tree.keys() != set(weighty):
        return None
    if not all(isinstance(inner, dict) for inner in tree.values()):
        return None
    for child in weighty:
        if _fits(children[child], tree[child]):
            work.features = getattr(children[child], "out_features", work.features)
            continue
        if child != weighty[-1]:
            _check_gap(original, child, name)
            work.taken.append(f"the layers without weights after {name}.{child} are torchvision's")
        children[child] = _new(tree[child], f"{name}.{child}", work)
    work.maps = False
    return nn.Sequential(OrderedDict(children))


def _check_gap(original: nn.Sequential, child: str, name: str) -> None:
    """A layer of another width says that somebody wrote this part anew; most write ReLU."""
    for module in list(original)[int(child) + 1 :]:
        if module.state_dict():
            return
        if not isinstance(module, nn.ReLU | nn.Dropout):
            raise UnknownHeadError(
                f"{name}.{child} has another shape than torchvision's, after which {type(module).__name__} stands"
            )


def _new(tree: Tree, name: str, work: _Rebuilding) -> nn.Module:
    """What these tensors are on their own."""
    if (found := layer(tree)) is not None:
        wanted, work.features, given = _sizes(found, work.features)
        if wanted != given:
            raise UnknownHeadError(f"{name} takes {wanted} features, and the network gives {given}")
        return found
    if is_sequence(tree):
        return _sequence(tree, name, work)
    if len(tree) == 1:
        ((child, inner),) = tree.items()
        if isinstance(inner, dict):
            work.taken.append(f"{name} is nothing but {name}.{child}")
            return nn.Sequential(OrderedDict({child: _new(inner, f"{name}.{child}", work)}))
    raise UnknownHeadError(f"{name} is no Linear, and no Sequential of Linear and BatchNorm1d")


def _sequence(tree: Tree, name: str, work: _Rebuilding) -> nn.Module:
    modules: list[nn.Module] = []
    state = _Stretch()
    numbers = sorted(tree, key=int)
    for number in numbers:
        for filling in state.fill(int(number) - len(modules), name, work):
            work.taken.append(f"{name}.{len(modules)} is {type(filling).__name__}")
            modules.append(filling)
        found = None if modules else kept(work.original, tree)
        if found is not None:
            modules.append(found)
            continue
        found = _new(tree[number], f"{name}.{number}", work)
        if isinstance(found, nn.Sequential) and number != numbers[-1]:
            raise UnknownHeadError(f"what stands at the end of {name}.{number} cannot be seen")
        state.pass_by(found)
        modules.append(found)
    return nn.Sequential(*modules)


@dataclass
class _Stretch:
    """What was met since the last Linear of a Sequential; `first` as long as there was none."""

    first: bool = True
    normed: bool = False
    activated: bool = False

    def pass_by(self, module: nn.Module) -> None:
        """A layer with weights was met."""
        if isinstance(module, nn.BatchNorm1d):
            self.normed = True
        else:
            self.first = self.normed = self.activated = False

    def fill(self, gap: int, name: str, work: _Rebuilding) -> list[nn.Module]:
        """The modules of a gap of this many."""
        if gap == 0:
            return []
        if self.first and not self.normed:
            start: list[nn.Module] = [nn.Flatten(1)] if work.maps else []
            work.maps = False
            return [*start, *(nn.Dropout() for _ in range(gap - len(start)))]
        if self.first or self.activated or gap > _MOST_IN_A_GAP:
            raise UnknownHeadError(f"which layers without weights {name} has, and where, cannot be seen")
        self.activated = True
        return [nn.ReLU(), nn.Dropout()][:gap]


def _sizes(module: nn.Linear | nn.BatchNorm1d, features: int) -> tuple[int, int, int]:
    """What a layer takes, what it gives, and what it gets."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features, features
    return module.num_features, module.num_features, features


def _features(original: nn.Module) -> int:
    """What torchvision's classifier takes."""
    for module in original.modules():
        if isinstance(module, nn.Linear):
            return module.in_features
        if isinstance(module, nn.LayerNorm):
            return int(module.normalized_shape[0])
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    raise UnknownHeadError("torchvision's classifier has no layer")


def _has(original: nn.Module, kind: type[nn.Module]) -> bool:
    return any(isinstance(module, kind) for module in original.modules())


def _fits(module: nn.Module, tree: Tree) -> bool:
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    return shapes == {name: value.shape for name, value in tree.items() if isinstance(value, torch.Tensor)}
