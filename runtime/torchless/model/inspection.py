"""What is inside a model file: manifest, inputs, outputs, operators, parameters and layers.

Needs neither torch nor onnx nor onnxruntime.
"""

import json
from collections import Counter
from dataclasses import asdict
from os import PathLike
from typing import Any

from torchless.codec import decode, encode, loads
from torchless.model.artifact import Artifact, manifest_of
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import OnnxFile, TensorType, read_onnx
from torchless.model.seal import Seal, check_seal
from torchless.records import dataclass

LAYERS_KEY = "torchless.layers"


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One nn.Module of the network that was exported, as PyTorch prints it.

    `path` is its dotted name, "" for the whole network; `arguments` is what PyTorch prints between its parentheses;
    `output_shape` is what it returns for one image, None if that is no tensor; `parameters` counts its own weights, not
    those of the modules in it.
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
    """Everything `torchless inspect` shows.

    For an ONNX file from elsewhere `manifest` is None, and `layers` and `doubts` (Artifact.doubts) are empty.
    """

    file: OnnxFile
    manifest: Manifest | None
    inputs: tuple[TensorType, ...]
    outputs: tuple[TensorType, ...]
    operators: dict[str, int]
    parameters: int
    layers: tuple[Layer, ...]
    seal: Seal
    doubts: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds."""
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
            "seal": self.seal.value,
            "doubts": list(self.doubts),
            "manifest": json.loads(self.manifest.to_json()) if self.manifest is not None else None,
        }


def inspect_model(path: str | PathLike[str]) -> Inspection:
    """Reads a model file. Raises ArtifactError if it is missing, damaged, or its manifest cannot be understood."""
    file = read_onnx(path)
    graph, manifest = file.graph, manifest_of(file)
    artifact = Artifact(file, manifest) if manifest is not None else None
    return Inspection(
        file=file,
        manifest=manifest,
        inputs=graph.inputs,
        outputs=graph.outputs,
        operators=dict(Counter(graph.operators).most_common()),
        parameters=sum(weight.size for weight in graph.initializers),
        layers=layers_from_json(file.metadata.get(LAYERS_KEY, "[]")),
        seal=artifact.seal if artifact is not None else check_seal(file),
        doubts=artifact.doubts() if artifact is not None else (),
    )


def layers_to_json(layers: tuple[Layer, ...]) -> str:
    """How layers are stored in an ONNX file, under LAYERS_KEY."""
    return json.dumps(encode(layers))


def layers_from_json(text: str) -> tuple[Layer, ...]:
    """The inverse of layers_to_json. Raises ManifestError."""
    layers: tuple[Layer, ...] = decode(tuple[Layer, ...], loads(text, "the list of layers"), "layers")
    return layers
