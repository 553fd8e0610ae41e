"""ONNX's messages without the onnx package, for tests that change a model or write one.

They are protobuf's own classes, made of the schema in tests/data: what onnx.ModelProto can do, these can. They don't
mix with onnx's.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf import descriptor_pool, message_factory

from tests.data import DATA
from torchless.model.seal import SEAL_KEY, seal_entry

_pool = descriptor_pool.DescriptorPool()
_file = _pool.AddSerializedFile((DATA / "onnx.descriptor").read_bytes())
_messages = message_factory.GetMessageClassesForFiles([_file.name], _pool)
ModelProto, GraphProto, NodeProto, TensorProto, SparseTensorProto, FunctionProto, ValueInfoProto = (
    _messages[f"onnx.{name}"]
    for name in (
        "ModelProto",
        "GraphProto",
        "NodeProto",
        "TensorProto",
        "SparseTensorProto",
        "FunctionProto",
        "ValueInfoProto",
    )
)
_AttributeProto = _messages["onnx.AttributeProto"]
_DTYPES = {
    "float32": TensorProto.FLOAT,
    "int64": TensorProto.INT64,
    "uint8": TensorProto.UINT8,
    "bool": TensorProto.BOOL,
}


def load(path: Path) -> Any:
    return ModelProto.FromString(path.read_bytes())


def save(model: Any, path: Path) -> None:
    path.write_bytes(model.SerializeToString())


def save_sealed(model: Any, path: Path) -> Path:
    """With a seal that fits: what somebody would make who knows how."""
    for entry in [entry for entry in model.metadata_props if entry.key == SEAL_KEY]:
        model.metadata_props.remove(entry)
    content = model.SerializeToString()
    path.write_bytes(content + seal_entry(hashlib.sha256(content).hexdigest()))
    return path


def first_weight(model: Any) -> Any:
    """The stored weights of the first convolution."""
    return next(weight for weight in model.graph.initializer if len(weight.dims) == 4)


def metadata_entry(model: Any, key: str) -> Any:
    return next(entry for entry in model.metadata_props if entry.key == key)


def tensor(name: str, values: Any, dtype: str = "float32") -> Any:
    array = np.asarray(values, dtype)
    return TensorProto(name=name, dims=array.shape, data_type=_DTYPES[dtype], raw_data=array.tobytes())


def value(name: str, shape: Sequence[int | str | None] | None, dtype: str = "float32") -> Any:
    """An input or output; None for a shape, or a dimension of it, that the file does not say."""
    info = ValueInfoProto(name=name)
    info.type.tensor_type.elem_type = _DTYPES[dtype]
    if shape is not None:
        dimensions = [
            {"dim_value": size} if isinstance(size, int) else {"dim_param": size} if size else {} for size in shape
        ]
        info.type.tensor_type.shape.MergeFrom(type(info.type.tensor_type.shape)(dim=dimensions))
    return info


def node(operator: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> Any:
    return NodeProto(
        op_type=operator, input=inputs, output=outputs, attribute=[_attribute(*item) for item in attributes.items()]
    )


def _attribute(name: str, given: Any) -> Any:
    if isinstance(given, int):
        return _AttributeProto(name=name, type=_AttributeProto.INT, i=given)
    if isinstance(given, GraphProto):
        return _AttributeProto(name=name, type=_AttributeProto.GRAPH, g=given)
    return _AttributeProto(name=name, type=_AttributeProto.TENSOR, t=given)


def model(nodes: Sequence[Any], inputs: Sequence[Any], outputs: Sequence[Any], initializers: Sequence[Any] = ()) -> Any:
    """A whole model, of opset 18."""
    graph = GraphProto(name="graph", node=nodes, input=inputs, output=outputs, initializer=initializers)
    return ModelProto(ir_version=10, opset_import=[{"domain": "", "version": 18}], graph=graph)


def set_metadata(model: Any, metadata: dict[str, str]) -> None:
    """Instead of what there was."""
    del model.metadata_props[:]
    for key, text in metadata.items():
        model.metadata_props.add(key=key, value=text)


def move_data(model: Any, location: str) -> None:
    """Lets the model say that its data file is at `location`."""
    for weight in model.graph.initializer:
        for entry in weight.external_data:
            if entry.key == "location":
                entry.value = location
