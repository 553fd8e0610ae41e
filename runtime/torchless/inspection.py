"""What is inside a model file: manifest, inputs, outputs, operators, parameters and layers. Needs neither torch nor onnx nor onnxruntime."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from torchless.codec import decode, encode
from torchless.errors import ArtifactDamagedError, ManifestError
from torchless.graph import OnnxFile, TensorType, read_onnx
from torchless.manifest import Manifest

LAYERS_KEY = "torchless.layers"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One nn.Module of the network that was exported, as PyTorch prints it.

    `path` is its dotted name, "" for the whole; `arguments` what PyTorch prints between its parentheses; `output_shape` what it gives for
    one image, None where it gives no tensor; `parameters` counts its own weights, not those of the modules in it.
    """

    path: str
    type: str
    arguments: str
    output_shape: tuple[int, ...] | None
    parameters: int

    @property
    def depth(self) -> int:
        return self.path.count(".") + 1 if self.path else 0


@dataclass(frozen=True)
class Inspection:
    """Everything `torchless inspect` shows. `manifest` is None, and `layers` empty, for an ONNX file from elsewhere."""

    file: OnnxFile
    manifest: Manifest | None
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    operators: dict[str, int]
    parameters: int
    layers: tuple[Layer, ...]

    def to_dict(self) -> dict[str, Any]:
        """What --json prints."""
        return {
            "file": str(self.file.path),
            "bytes": self.file.file_size,
            "ir_version": self.file.ir_version,
            "opsets": self.file.opsets,
            "producer": self.file.producer,
            "inputs": [asdict(tensor) for tensor in self.inputs],
            "outputs": [asdict(tensor) for tensor in self.outputs],
            "operators": self.operators,
            "parameters": self.parameters,
            "layers": encode(self.layers),
            "manifest": json.loads(self.manifest.to_json()) if self.manifest is not None else None,
        }


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
        layers=layers_from_json(file.metadata.get(LAYERS_KEY, "[]")),
    )


def layers_to_json(layers: tuple[Layer, ...]) -> str:
    """How layers are stored in an ONNX file, under LAYERS_KEY."""
    return json.dumps(encode(layers))


def layers_from_json(text: str) -> tuple[Layer, ...]:
    """The inverse of layers_to_json. Raises ManifestError."""
    try:
        layers: tuple[Layer, ...] = decode(tuple[Layer, ...], json.loads(text), "layers")
    except json.JSONDecodeError as error:
        raise ManifestError(f"the list of layers is not valid JSON: {error}") from None
    return layers
