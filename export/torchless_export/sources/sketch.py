"""A builder to paste, for checkpoints of a changed network that a state dict does not describe."""

import torch
from torch import nn

from torchless_export.sources.heads import Tree, is_sequence, kept, layer

_STEP = "    "
_NO_WEIGHTS = "  # has no weights: put here what you trained with"


def builder(name: str, options: dict[str, object], changes: list[str]) -> str:
    """The text of a function for `builder`, with torchvision's network `name` and the lines that change it."""
    arguments = "".join(f", {option}={value!r}" for option, value in options.items())
    lines = [
        *(["from collections import OrderedDict"] if any("OrderedDict" in change for change in changes) else []),
        "from pathlib import Path",
        "from torch import nn",
        "from torchvision import models",
        "",
        "def build():",
        f"    network = models.get_model({name!r}, weights=None{arguments})",
        *(f"    {line}" for change in changes for line in change.splitlines()),
        f"    preprocessing = models.get_model_weights({name!r}).DEFAULT.transforms()",
        '    labels = Path("labels.txt").read_text().splitlines()',
        "    return network, preprocessing, labels",
    ]
    return "\n".join(lines)


def new_head(name: str, tree: Tree, original: nn.Module) -> str:
    """The line that gives the network a classifier with these tensors."""
    start = [f"network.{name}[0]"] if kept(original, tree) is not None else []
    if any(isinstance(module, nn.Flatten) for module in original.children()) and str(len(start)) not in tree:
        start.append("nn.Flatten(1)")
    return f"network.{name} = {_expression(tree, '', start)}"


def new_convolution(name: str, old: nn.Conv2d, weight: torch.Tensor) -> str:
    """The line that gives the network a convolution with this weight."""
    size = tuple(weight.shape[2:])
    padding = tuple(side // 2 for side in size) if old.padding != (0, 0) else (0, 0)
    bias = "" if old.bias is not None else ", bias=False"
    return (
        f"{place(name)} = nn.Conv2d({weight.shape[1]}, {weight.shape[0]}, {size}, stride={old.stride}, "
        f"padding={padding}{bias})  # stride and padding as you trained with"
    )


def place(name: str) -> str:
    """A module's name as an expression: features.0.0 → network.features[0][0]."""
    return "network" + "".join(f"[{part}]" if part.isdecimal() else f".{part}" for part in name.split("."))


def _expression(tree: Tree, indent: str, start: list[str] | None = None) -> str:
    if (text := _layer(tree)) is not None:
        return text
    inner = indent + _STEP
    if is_sequence(tree):
        return "\n".join(["nn.Sequential(", *_sequence(tree, inner, start or []), f"{indent})"])
    entries: list[str] = []
    for name, branch in tree.items():
        if entries:
            entries.append(f'{inner}"before_{name}": nn.ReLU(),{_NO_WEIGHTS}')
        entries.append(f'{inner}"{name}": {_expression(branch, inner)},')
    return "\n".join(["nn.Sequential(OrderedDict({", *entries, f"{indent}}}))"])


def _sequence(tree: Tree, indent: str, start: list[str]) -> list[str]:
    """One line a layer; `start` are those with which it begins, whatever the tree says."""
    lines = [f"{indent}{text}," for text in start]
    for name in sorted(tree, key=int):
        if int(name) < len(lines):
            continue
        before = len(lines)
        while len(lines) < int(name):
            activation = before > len(start) and len(lines) == before
            lines.append(f"{indent}{'nn.ReLU()' if activation else 'nn.Dropout()'},{_NO_WEIGHTS}")
        lines.append(f"{indent}{_expression(tree[name], indent)},")
    return lines


def _layer(tree: Tree) -> str | None:
    """The code of a layer with these tensors; None where there are modules below."""
    if not all(isinstance(value, torch.Tensor) for value in tree.values()):
        return None
    found, weight = layer(tree), tree.get("weight")
    if isinstance(found, nn.Linear):
        return f"nn.Linear({found.in_features}, {found.out_features}{'' if found.bias is not None else ', bias=False'})"
    if isinstance(found, nn.BatchNorm1d):
        return f"nn.BatchNorm1d({found.num_features}{'' if found.affine else ', affine=False'})"
    if weight is not None and weight.ndim == 1:
        return f"nn.LayerNorm({len(weight)})" if "bias" in tree else f"nn.PReLU({len(weight)})"
    if weight is not None and weight.ndim == 4:
        outputs, inputs, *size = weight.shape
        return f"nn.Conv2d({inputs}, {outputs}, {tuple(size)}{'' if 'bias' in tree else ', bias=False'})"
    return "..."
