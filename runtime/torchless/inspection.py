"""What is inside a model file: manifest, inputs, outputs, operators, parameters and layers. Needs neither torch nor onnx nor onnxruntime."""

import ast
from collections import Counter
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from torchless.errors import ArtifactDamagedError
from torchless.graph import Graph, Node, OnnxFile, TensorType, read_onnx
from torchless.manifest import Manifest

# torch's exporter notes on each operator which nn.Module it came from: the paths of the modules around it, and their classes.
_SCOPES, _CLASSES = "pkg.torch.onnx.name_scopes", "pkg.torch.onnx.class_hierarchy"


@dataclass(frozen=True)
class Layer:
    """One nn.Module of the network that was exported. `path` is its dotted name, "" for the whole; `parameters` counts its own weights."""

    path: str
    type: str
    output_shape: tuple[int | str | None, ...] | None
    parameters: int

    @property
    def depth(self) -> int:
        return self.path.count(".") + 1 if self.path else 0


@dataclass(frozen=True)
class Inspection:
    """Everything `torchless inspect` shows. `manifest` is None for an ONNX file from elsewhere."""

    file: OnnxFile
    manifest: Manifest | None
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    operators: dict[str, int]
    parameters: int
    layers: tuple[Layer, ...]

    def to_dict(self) -> dict[str, Any]:
        """For --json; the manifest is left to its own encoder."""
        tensors = {"inputs": [asdict(t) for t in self.inputs], "outputs": [asdict(t) for t in self.outputs]}
        header = {
            "file": str(self.file.path),
            "bytes": self.file.file_size,
            "ir_version": self.file.ir_version,
            "opsets": self.file.opsets,
            "producer": self.file.producer,
        }
        body = {"operators": self.operators, "parameters": self.parameters, "layers": [asdict(layer) for layer in self.layers]}
        return header | tensors | body


def inspect_model(path: str | PathLike[str]) -> Inspection:
    """Reads a model file. Raises ArtifactError if it is missing, damaged, or has a manifest that cannot be understood."""
    file = read_onnx(path, with_graph=True)
    graph = file.graph
    if graph is None:
        raise ArtifactDamagedError(f"{file.path} has no graph")
    text = file.metadata.get(Manifest.KEY)
    stored = {weight.name for weight in graph.initializers}
    return Inspection(
        file=file,
        manifest=Manifest.from_json(text) if text is not None else None,
        inputs=tuple(tensor for tensor in graph.inputs if tensor.name not in stored),
        outputs=graph.outputs,
        operators=dict(Counter(node.op_type for node in graph.nodes).most_common()),
        parameters=sum(weight.size for weight in graph.initializers),
        layers=_layers(graph),
    )


def _layers(graph: Graph) -> tuple[Layer, ...]:
    """The modules in the order in which they first run, each before what it holds."""
    types: dict[str, str] = {}
    shapes: dict[str, tuple[int | str | None, ...] | None] = {}
    counts: dict[str, int] = {}
    known = {tensor.name: tensor.shape for tensor in (*graph.values, *graph.outputs)}
    sizes = {weight.name: weight.size for weight in graph.initializers}  # each is counted once, where it is first read
    for node in graph.nodes:
        modules = _modules_of(node)
        for path, kind in modules:
            types.setdefault(path, kind)
            shapes[path] = known.get(node.outputs[0]) if node.outputs else None
        if modules:
            innermost = modules[-1][0]
            counts[innermost] = counts.get(innermost, 0) + sum(sizes.pop(name, 0) for name in node.inputs)
    ordered = sorted(types, key=_position_in(types))
    return tuple(Layer(path, types[path], shapes[path], counts.get(path, 0)) for path in ordered)


def _position_in(types: dict[str, str]) -> Any:
    """A sorting key that keeps the order of first use, but puts a module's parts right behind it."""
    first = {path: position for position, path in enumerate(types)}

    def key(path: str) -> list[int]:
        parts = path.split(".")
        prefixes = ["", *(".".join(parts[: i + 1]) for i in range(len(parts)))] if path else [""]
        return [first.get(prefix, 0) for prefix in prefixes]

    return key


def _modules_of(node: Node) -> list[tuple[str, str]]:
    """(path, class name) of the modules around an operator, outermost first; empty where the exporter left no note."""
    try:
        scopes = ast.literal_eval(node.metadata.get(_SCOPES, "[]"))
        classes = ast.literal_eval(node.metadata.get(_CLASSES, "[]"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return []
    pairs = zip(scopes[:-1], classes[:-1], strict=False)  # the last of each is the operator itself
    return [(str(path), str(kind).rsplit(".", 1)[-1]) for path, kind in pairs]
