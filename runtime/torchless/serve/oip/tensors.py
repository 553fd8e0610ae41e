"""The tensors of an Open Inference Protocol request: what a model takes, and from JSON or bytes to what the batcher
takes.
"""

import base64
import binascii
import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from torchless.serve.errors import RequestError
from torchless.serve.jobs import Source

VERSION = "1"
Datatype = Literal["FP32", "UINT8", "BYTES"]

_ELEMENTS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The input and output of a model of the protocol. Shapes are as in its metadata: -1 for any size, the number of
    images first. `labels` are those of the outputs.
    """

    model: str
    input_name: str
    datatype: Datatype
    input_shape: tuple[int, ...]
    output_name: str
    labels: tuple[str, ...]
    max_images: int

    def metadata(self) -> dict[str, Any]:
        """The body of GET /v2/models/{model}."""
        return {
            "name": self.model,
            "versions": [VERSION],
            "platform": "ensemble" if self.datatype == "BYTES" else "onnxruntime_onnx",
            "inputs": [{"name": self.input_name, "datatype": self.datatype, "shape": list(self.input_shape)}],
            "outputs": [{"name": self.output_name, "datatype": "FP32", "shape": [-1, len(self.labels)]}],
        }


def tensor_sources(tensor: dict[str, Any], binary: memoryview, interface: Interface) -> Sequence[Source]:
    shape = _shape(tensor.get("shape"), interface)
    parameters = json_object(tensor.get("parameters", {}), "inputs[0].parameters")
    if "shared_memory_region" in parameters:
        raise RequestError("inputs[0].parameters: this server does not support shared memory; send the tensor itself")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise RequestError("inputs[0]: it has neither data nor parameters.binary_data_size")
        if binary:
            raise RequestError(f"{len(binary)} bytes follow the JSON, but no input claims them (binary_data_size)")
        return _from_json(tensor["data"], shape, interface)
    if "data" in tensor:
        raise RequestError("inputs[0]: it has data both in the JSON and in bytes after it; send only one")
    if type(size) is not int or size != len(binary):
        raise RequestError(
            f"inputs[0].parameters.binary_data_size: {shown(size)} bytes should follow the JSON, {len(binary)} do"
        )
    return _from_binary(binary, shape, interface)


def _shape(shape: Any, interface: Interface) -> tuple[int, ...]:
    wanted = interface.input_shape
    fits = isinstance(shape, list) and len(shape) == len(wanted) and all(type(side) is int for side in shape)
    if (
        not fits
        or min(shape, default=0) < 1
        or any(size != want for size, want in zip(shape[1:], wanted[1:], strict=True) if want != -1)
    ):
        raise RequestError(f"inputs[0].shape: expected {list(wanted)} with 1 or more for -1, got {shown(shape)}")
    if shape[0] > interface.max_images:
        raise RequestError(
            f"inputs[0].shape: {shape[0]} images, the server takes at most {interface.max_images} at once (max_queue)"
        )
    return tuple(shape)


def _from_json(data: Any, shape: tuple[int, ...], interface: Interface) -> Sequence[Source]:
    flat = _flatten(data)
    count = int(np.prod(shape))
    if len(flat) != count:
        raise RequestError(f"inputs[0].data: the shape {list(shape)} has {count} elements, data has {len(flat)}")
    if interface.datatype == "BYTES":
        return [_from_base64(item, i) for i, item in enumerate(flat)]
    if interface.datatype == "UINT8":
        if set(map(type, flat)) != {int} or not 0 <= min(flat) <= max(flat) <= 255:
            raise RequestError("inputs[0].data: expected only whole numbers from 0 to 255")
        return list(np.array(flat, dtype=np.uint8).reshape(shape))
    if not set(map(type, flat)) <= {int, float}:
        raise RequestError("inputs[0].data: expected only numbers")
    with np.errstate(over="ignore"):
        return list(_finite(np.array(flat, dtype=np.float32).reshape(shape)))


def _flatten(data: Any) -> list[Any]:
    """The elements of nested lists, all of the same depth, in row-major order."""
    if not isinstance(data, list):
        raise RequestError(f"inputs[0].data: expected a list, got {shown(data)}")
    flat: list[Any] = data
    while flat and isinstance(flat[0], list):
        if set(map(type, flat)) != {list}:
            raise RequestError("inputs[0].data: lists and single elements are mixed")
        flat = list(chain.from_iterable(flat))
    return flat


def _from_base64(item: Any, index: int) -> bytes:
    try:
        return base64.b64decode(item, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise RequestError(
            f"inputs[0].data[{index}]: in JSON an image is base64 text; or send it as bytes (binary_data_size)"
        ) from None


def _from_binary(data: memoryview, shape: tuple[int, ...], interface: Interface) -> Sequence[Source]:
    if interface.datatype == "BYTES":
        return _split(data, shape[0])
    element = _ELEMENTS[interface.datatype]
    size = element.itemsize * math.prod(shape)
    if len(data) != size:
        raise RequestError(
            f"inputs[0]: {interface.datatype} of shape {list(shape)} takes {size} bytes, got {len(data)}"
        )
    return list(_finite(np.frombuffer(data, element).reshape(shape)))


def _split(data: memoryview, count: int) -> list[bytes]:
    """Elements of BYTES, each preceded by its length: 4 bytes, little-endian."""
    elements: list[bytes] = []
    offset = 0
    while offset < len(data):
        start = offset + 4
        length = int.from_bytes(data[offset:start], "little")
        offset = start + length
        if offset > len(data):
            raise RequestError(f"inputs[0]: element {len(elements)} of BYTES reaches beyond the end of the tensor")
        elements.append(bytes(data[start:offset]))
    if len(elements) != count:
        raise RequestError(f"inputs[0]: the shape says {count} elements, the bytes hold {len(elements)}")
    return elements


def raw_sources(body: bytes, interface: Interface) -> Sequence[Source]:
    """Triton's raw binary request, without JSON: one image, or as many tensors as the bytes hold."""
    if interface.datatype == "BYTES":
        return [body]
    if -1 in interface.input_shape[1:]:
        raise RequestError(
            "an image of this model may have any size, which bytes alone do not show: send the request with its JSON"
        )
    each = 4 * int(np.prod(interface.input_shape[1:]))
    if not body or len(body) % each:
        raise RequestError(
            f"an image takes {each} bytes as FP32 of shape {list(interface.input_shape[1:])}, the body has {len(body)}"
        )
    return _from_binary(memoryview(body), _shape([len(body) // each, *interface.input_shape[1:]], interface), interface)


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise RequestError("inputs[0]: it contains NaN or infinity, or a number beyond float32")
    return values


def json_object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{where}: expected a JSON object, got {shown(value)}")
    return value


def json_boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise RequestError(f"{where}: expected true or false, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode() if value is not None else "nothing"
    return text if len(text) <= 60 else text[:57] + "..."
