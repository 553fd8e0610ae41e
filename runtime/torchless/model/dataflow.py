"""Which nodes of a graph compute on the image, and which only on shapes: a device is asked for because of the first."""

import mmap
from dataclasses import field

from torchless.files import open_regular
from torchless.model.onnxfile import OnnxFile
from torchless.model.protobuf import fields_of, message, text
from torchless.records import dataclass

_SHAPE_ONLY = ("Shape", "Size")  # their results tell of an array, but hold nothing of it


@dataclass(frozen=True)
class Dataflow:
    """The nodes that compute on the model's input, `on_image`, and all others, each by its name and operator: files may
    leave names out.
    """

    on_image: set[tuple[str, str]] = field(default_factory=set)
    others: set[tuple[str, str]] = field(default_factory=set)

    def is_on_image(self, name: str, operator: str) -> bool:
        """Whether such a node may compute on the image. One that is not in the file, such as a fused one, may."""
        node = name, operator
        return operator not in _SHAPE_ONLY and (node in self.on_image or node not in self.others)


def dataflow(file: OnnxFile) -> Dataflow:
    """Walks the nodes of the model, in a few milliseconds, whatever the size of its weights."""
    flow, given = Dataflow(), {tensor.name for tensor in file.graph.inputs}
    if file.held is not None:
        _walk_model(memoryview(file.held.content), given, flow)
    else:
        with open_regular(file.path) as stream:
            _walk_model(memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)), given, flow)
    return flow


def _walk_model(view: memoryview, given: set[str], flow: Dataflow) -> None:
    for number, value in fields_of(view):
        if number == 7:
            _walk(message(value), given, flow)


def _walk(graph: memoryview, values: set[str], flow: Dataflow) -> bool:
    """Adds the nodes of `graph`, and to `values` what they compute from them. Whether there are such nodes."""
    found = False
    for number, value in fields_of(graph):
        if number == 1:
            found |= _visit(message(value), values, flow)
    return found


def _visit(node: memoryview, values: set[str], flow: Dataflow) -> bool:
    inputs, outputs, name, operator, inner = [], [], "", "", False
    for number, value in fields_of(node):
        match number:
            case 1:
                inputs.append(text(value))
            case 2:
                outputs.append(text(value))
            case 3:
                name = text(value)
            case 4:
                operator = text(value)
            case 5:  # an attribute, which may hold a graph: it sees the values outside
                for kind, held in fields_of(message(value)):
                    inner = (kind == 6 and _walk(message(held), values, flow)) or inner
    on_image = inner or (operator not in _SHAPE_ONLY and not values.isdisjoint(inputs))
    if on_image:
        values.update(outputs)
    (flow.on_image if on_image else flow.others).add((name, operator))
    return on_image
