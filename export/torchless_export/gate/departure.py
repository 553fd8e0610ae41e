"""Where an exported network goes wrong: the first node whose output departs from PyTorch's, and the nn.Module that it
came from.

Both sides run one image, with every intermediate output kept: PyTorch's modules through hooks, in float64 and in
float32, and ONNX Runtime's nodes as outputs of the graph. Exporters note in each node which module it came from; the
last node of a module holds its output.
"""

import ast
import copy
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import nn

from torchless.errors import first_line
from torchless.proof.answers import max_abs
from torchless_export.gate.limits import FLOAT32_STEP, MAX_UNITS
from torchless_export.gate.node_values import node_values
from torchless_export.sources.images import TestImage
from torchless_export.sources.load import LoadedModel

# A fault stands out: a node that departs by less than this share of the worst one is rounding that the network has
# amplified since.
_STANDS_OUT = 1e-3

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Departure:
    """`node` and `operator` are ONNX's, `module` is the dotted name of the nn.Module; "" for each where nothing was
    found.

    `wanted` and `got` describe PyTorch's output and ONNX Runtime's, `units` how far apart they are in units of
    PyTorch's own error there, `last_right` is the last module before it whose output is within the gate's limit.
    """

    node: str
    operator: str
    module: str
    module_type: str
    wanted: str
    got: str
    units: float
    last_right: str
    note: str = ""

    def __str__(self) -> str:
        if self.note:
            return f"where it broke: {self.note}"
        before = f"; {self.last_right} is still right" if self.last_right else ""
        return (
            f"where it broke: node {self.node} ({self.operator}), of {self.module or 'the network itself'} "
            f"({self.module_type}){before}\n"
            f"  PyTorch       {self.wanted}\n"
            f"  ONNX Runtime  {self.got}\n"
            f"  apart by {self.units:,.0f} times PyTorch's own rounding error there"
        )


def find_departure(
    loaded: LoadedModel, path: Path, test: TestImage, *, float64: bool = True, device: str = "cpu"
) -> Departure:
    """Runs both sides on the image `test`, prepared once by PyTorch's transform, so that only the network differs.

    `float64` says whether the network runs in it. ONNX Runtime runs on the CPU here, whatever `device` the verdict is
    of.
    """
    if not float64:
        return unknown_departure("not looked for, since the network does not run in float64")
    try:
        return _search(loaded, path, test, device)
    except Exception as error:  # the verdict stands without it, and graphs and networks may contain anything
        return unknown_departure(f"could not be looked for: {first_line(error)}")


def _search(loaded: LoadedModel, path: Path, test: TestImage, device: str) -> Departure:
    batch = loaded.transform(test.image)[None]
    model = onnx.load(path, load_external_data=False)
    if any(onnx.external_data_helper.uses_external_data(weight) for weight in model.graph.initializer):
        return unknown_departure("not looked for, since the network is too large for one file")
    exact = _module_outputs(copy.deepcopy(loaded.module).double(), batch.double())
    own = _module_outputs(loaded.module, batch)
    found = _first_departure(_compare(loaded.module, model, exact, own, _node_outputs(model, batch.numpy())))
    if found is not None:
        return found
    if device != "cpu":
        return unknown_departure(f"no node departs on the CPU, so what {device} computes is at fault")
    return unknown_departure(
        "no node departs when each is an output of its own, so ONNX Runtime's optimisation of the graph is at fault"
    )


class _Point(NamedTuple):
    """A node that holds a module's output, compared."""

    node: onnx.NodeProto
    module: str
    module_type: str
    wanted: Array
    got: Array
    units: float


class _Call(NamedTuple):
    module: str
    output: Array


def _module_outputs(module: nn.Module, batch: torch.Tensor) -> list[_Call]:
    """Every tensor that a module returns, in the order in which they finish."""
    calls: list[_Call] = []

    def keep(name: str) -> Any:
        def hook(_module: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, torch.Tensor):
                calls.append(_Call(name, output.double().clone().numpy()))  # the next module may work in place

        return hook

    handles = [child.register_forward_hook(keep(name)) for name, child in module.named_modules()]
    try:
        with torch.inference_mode():
            module.eval()(batch)
    finally:
        for handle in handles:
            handle.remove()
    return calls


def _node_outputs(model: onnx.ModelProto, batch: NDArray[np.float32]) -> dict[str, Array]:
    """The first output of every node that is a tensor of floats, by the output's name."""
    values = node_values(model, model.graph.input[0].name)(batch)
    return {name: value.astype(np.float64) for name, value in values.items()}


def _compare(
    module: nn.Module,
    model: onnx.ModelProto,
    exact: Sequence[_Call],
    own: Sequence[_Call],
    outputs: Mapping[str, Array],
) -> list[_Point]:
    """A point for each call of a module that some node stands for, in the order of the graph; a module comes before the
    one that it ends.
    """
    types = {name: type(child).__name__ for name, child in module.named_modules()}
    nodes = [(node, _module_of(node, types)) for node in model.graph.node]
    last = next(index for index, (node, _) in enumerate(nodes) if model.graph.output[0].name in node.output)
    points: list[tuple[int, int, _Point]] = []
    for name in types:
        ends = _ends([owner for _, owner in nodes], name) if name else [last]
        calls = [number for number, call in enumerate(exact) if call.module == name]
        if len(ends) != len(calls):
            continue
        for end, number in zip(ends, calls, strict=True):
            node = nodes[end][0]
            if node.output[0] in outputs:
                points += [
                    (end, -len(name), point)
                    for point in _point(node, types, exact, own, number, outputs[node.output[0]])
                ]
    return [point for *_, point in sorted(points, key=lambda item: item[:2])]


def _ends(owners: list[str | None], name: str) -> list[int]:
    """The index of the last node of each run of nodes that belong to the module `name` or to a module in it."""
    inside = [owner is not None and (owner == name or owner.startswith(name + ".")) for owner in owners]
    return [index for index, now in enumerate(inside) if now and not (index + 1 < len(inside) and inside[index + 1])]


def _point(
    node: onnx.NodeProto,
    types: Mapping[str, str],
    exact: Sequence[_Call],
    own: Sequence[_Call],
    number: int,
    got: Array,
) -> list[_Point]:
    """Against the module's output or that of the next one called, whichever is nearer: exporters fold a batch norm into
    a convolution.
    """
    found = [
        _Point(
            node,
            exact[i].module,
            types[exact[i].module],
            exact[i].output,
            got,
            _units(exact[i].output, own[i].output, got),
        )
        for i in (number, number + 1)
        if i < min(len(exact), len(own)) and _comparable(exact[i].output, got)
    ]
    return [min(found, key=lambda point: point.units)] if found else []


def _comparable(wanted: Array, got: Array) -> bool:
    """Not where the same numbers have another shape: exporters move what only rearranges them into the next module."""
    return wanted.ndim == got.ndim and (wanted.shape == got.shape or wanted.size != got.size)


def _units(wanted: Array, own: Array, got: Array) -> float:
    if wanted.shape != got.shape:
        return float("inf")
    unit = max(max_abs(own - wanted), FLOAT32_STEP * float(np.abs(wanted).max(initial=0.0)))
    return max_abs(got - wanted) / unit if unit else 0.0


def _first_departure(points: Sequence[_Point]) -> Departure | None:
    finite = [point.units for point in points if np.isfinite(point.units)]
    threshold = max(MAX_UNITS, _STANDS_OUT * max(finite, default=0.0))
    last_right = ""
    for point in points:
        if point.units > threshold:
            return Departure(
                node=point.node.name or point.node.output[0],
                operator=point.node.op_type,
                module=point.module,
                module_type=point.module_type,
                wanted=_describe(point.wanted),
                got=_describe(point.got),
                units=point.units,
                last_right=last_right,
            )
        if point.units <= MAX_UNITS:
            last_right = point.module
    return None


def _describe(values: Array) -> str:
    shape = "×".join(map(str, values.shape))
    return f"{shape}, {values.min():.6g} to {values.max():.6g}, mean {values.mean():.6g}"


def unknown_departure(note: str) -> Departure:
    """Nothing was found, and why."""
    return Departure("", "", "", "", "", "", float("nan"), "", note)


def _module_of(node: onnx.NodeProto, types: Mapping[str, str]) -> str | None:
    """The dotted name of the module that a node came from, as either exporter notes it; None where it does not."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = ast.literal_eval(entry.value)
            return str(scopes[-2]) if len(scopes) > 1 and scopes[-2] in types else None
    return _from_scoped_name(node.name, types)


def _from_scoped_name(name: str, types: Mapping[str, str]) -> str | None:
    """The TorchScript exporter names a node /layer1/layer1.0/relu_1/Relu: what stands between the slashes repeats the
    name before it, or adds to it; a module's later calls are numbered.
    """
    if not name.startswith("/"):
        return None
    path = ""
    for part in name.split("/")[1:-1]:
        path = part if not path or part.startswith(path + ".") else f"{path}.{part}"
    return next((known for known in (path, re.sub(r"_\d+$", "", path)) if known in types), None)
