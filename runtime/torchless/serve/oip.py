"""The Open Inference Protocol v2 in JSON and with the binary tensor extension: bytes ↔ what it means. Knows nothing of HTTP.

Sources: github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), and Triton's extensions
extension_binary_data.md and extension_classification.md in github.com/triton-inference-server/server/docs/protocol.
"""

import base64
import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from torchless.serve.problems import RequestError

VERSION = "1"
Datatype = Literal["FP32", "BYTES"]


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a model of the protocol takes and gives. Shapes are those of metadata, with -1 for the number of images."""

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
            "platform": "onnxruntime_onnx" if self.datatype == "FP32" else "ensemble",
            "inputs": [{"name": self.input_name, "datatype": self.datatype, "shape": list(self.input_shape)}],
            "outputs": [{"name": self.output_name, "datatype": "FP32", "shape": [-1, len(self.labels)]}],
        }


@dataclass(frozen=True)
class RequestedOutput:
    """How the output is wanted: as bytes after the JSON, or in it; whole, or the `classes` best as text."""

    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A request that makes sense: an encoded image (bytes) or a float32 (3, crop, crop) for each image."""

    sources: Sequence[bytes | NDArray[np.float32]]
    output: RequestedOutput
    id: str | None = None
    timeout_s: float | None = None


def parse_request(body: bytes, json_length: int | None, signature: Signature) -> InferRequest:
    """`json_length` is the header Inference-Header-Content-Length, None without it. Raises RequestError that names the field."""
    if json_length == 0:
        return InferRequest(_raw_sources(body, signature), RequestedOutput(binary=True))
    if json_length is not None and not 0 < json_length <= len(body):
        raise RequestError(f"Inference-Header-Content-Length says {json_length} bytes of JSON, the body has {len(body)} bytes")
    document = _object(_loads(body if json_length is None else body[:json_length]), "the request")
    binary = memoryview(body)[len(body) if json_length is None else json_length :]
    parameters = _object(document.get("parameters", {}), "parameters")
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(f"id: expected text, got {_shown(request_id)}")
    return InferRequest(
        _sources(_the_input(document, signature), binary, signature),
        _output(document.get("outputs"), parameters, signature),
        request_id,
        _timeout(parameters.get("timeout")),
    )


def encode_response(request: InferRequest, logits: NDArray[np.float32], signature: Signature) -> tuple[bytes, int | None]:
    """The body for finite float32 (N, classes), and the length of its JSON where bytes follow that."""
    tensor, data = _encode_output(request.output, logits, signature)
    document: dict[str, Any] = {"model_name": signature.model, "model_version": VERSION, "outputs": [tensor]}
    if request.id is not None:
        document["id"] = request.id
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (text, None) if data is None else (text + data, len(text))


def _encode_output(output: RequestedOutput, logits: NDArray[np.float32], signature: Signature) -> tuple[dict[str, Any], bytes | None]:
    """The tensor's JSON, and its bytes where it is wanted in bytes."""
    if output.classes:
        rows = _best_as_text(logits, output.classes, signature.labels)
        texts = list(chain.from_iterable(rows))
        tensor: dict[str, Any] = {"name": signature.output_name, "datatype": "BYTES", "shape": [len(rows), len(rows[0])]}
        data: Any = b"".join(_counted(text.encode()) for text in texts) if output.binary else texts
    else:
        tensor = {"name": signature.output_name, "datatype": "FP32", "shape": list(logits.shape)}
        data = np.ascontiguousarray(logits, "<f4")
        data = data.tobytes() if output.binary else data.reshape(-1)
    if output.binary:
        return tensor | {"parameters": {"binary_data_size": len(data)}}, data
    return tensor | {"data": data}, None


def _best_as_text(logits: NDArray[np.float32], count: int, labels: tuple[str, ...]) -> list[list[str]]:
    """Triton's "value:index:label", with values as C++'s std::to_string writes them."""
    best = np.argsort(-logits, axis=1, kind="stable")[:, :count]
    return [[f"{row[i]:f}:{i}:{labels[i]}" for i in indices] for row, indices in zip(logits, best, strict=True)]


def _counted(data: bytes) -> bytes:
    return struct.pack("<I", len(data)) + data


def _loads(text: bytes) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the request is not valid JSON: {error}") from None


def _the_input(document: dict[str, Any], signature: Signature) -> dict[str, Any]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise RequestError(f"inputs: expected a list of one tensor, {signature.input_name}, got {_shown(inputs)}")
    tensor = _object(inputs[0], "inputs[0]")
    if tensor.get("name") != signature.input_name:
        raise RequestError(f"inputs[0].name: the model {signature.model} takes {signature.input_name!r}, got {_shown(tensor.get('name'))}")
    if tensor.get("datatype") != signature.datatype:
        raise RequestError(f"inputs[0].datatype: {signature.input_name} is {signature.datatype}, got {_shown(tensor.get('datatype'))}")
    return tensor


def _sources(tensor: dict[str, Any], binary: memoryview, signature: Signature) -> Sequence[bytes | NDArray[np.float32]]:
    shape = _shape(tensor.get("shape"), signature)
    parameters = _object(tensor.get("parameters", {}), "inputs[0].parameters")
    if "shared_memory_region" in parameters:
        raise RequestError("inputs[0].parameters: this server takes no shared memory; send the tensor itself")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise RequestError("inputs[0]: neither data nor parameters.binary_data_size is there")
        if binary:
            raise RequestError(f"{len(binary)} bytes follow the JSON, and no input has them (binary_data_size)")
        return _from_json(tensor["data"], shape, signature)
    if "data" in tensor:
        raise RequestError("inputs[0]: it has data in the JSON and in bytes after it; one of them")
    if type(size) is not int or size != len(binary):
        raise RequestError(f"inputs[0].parameters.binary_data_size: {_shown(size)} bytes are said to follow the JSON, {len(binary)} do")
    return _from_binary(binary, shape, signature)


def _shape(shape: Any, signature: Signature) -> tuple[int, ...]:
    wanted = signature.input_shape
    fits = isinstance(shape, list) and len(shape) == len(wanted) and all(type(side) is int for side in shape)
    if not fits or shape[0] < 1 or tuple(shape[1:]) != wanted[1:]:
        raise RequestError(f"inputs[0].shape: expected {list(wanted)} with 1 or more for -1, got {_shown(shape)}")
    if shape[0] > signature.max_images:
        raise RequestError(f"inputs[0].shape: {shape[0]} images, the server takes at most {signature.max_images} at once (--max-queue)")
    return tuple(shape)


def _from_json(data: Any, shape: tuple[int, ...], signature: Signature) -> Sequence[bytes | NDArray[np.float32]]:
    flat = _flatten(data)
    count = int(np.prod(shape))
    if len(flat) != count:
        raise RequestError(f"inputs[0].data: the shape {list(shape)} has {count} elements, data has {len(flat)}")
    if signature.datatype == "BYTES":
        return [_from_base64(item, i) for i, item in enumerate(flat)]
    if not set(map(type, flat)) <= {int, float}:
        raise RequestError("inputs[0].data: expected numbers alone")
    with np.errstate(over="ignore"):
        return list(_finite(np.array(flat, dtype=np.float32).reshape(shape)))


def _flatten(data: Any) -> list[Any]:
    """The elements of lists in lists, all of one depth, in row-major order."""
    if not isinstance(data, list):
        raise RequestError(f"inputs[0].data: expected a list, got {_shown(data)}")
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
        raise RequestError(f"inputs[0].data[{index}]: in JSON an image is base64 text; or send it in bytes (binary_data_size)") from None


def _from_binary(data: memoryview, shape: tuple[int, ...], signature: Signature) -> Sequence[bytes | NDArray[np.float32]]:
    if signature.datatype == "BYTES":
        return _split(data, shape[0])
    count = int(np.prod(shape))
    if len(data) != 4 * count:
        raise RequestError(f"inputs[0]: FP32 of shape {list(shape)} takes {4 * count} bytes, got {len(data)}")
    return list(_finite(np.frombuffer(data, "<f4").reshape(shape)))


def _split(data: memoryview, count: int) -> list[bytes]:
    """Elements of BYTES: each has its length before it, 4 bytes, little-endian."""
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


def _raw_sources(body: bytes, signature: Signature) -> Sequence[bytes | NDArray[np.float32]]:
    """Triton's raw binary request: no JSON at all; one image, or as many tensors as the bytes are enough for."""
    if signature.datatype == "BYTES":
        return [body]
    each = 4 * int(np.prod(signature.input_shape[1:]))
    if not body or len(body) % each:
        raise RequestError(f"an image takes {each} bytes as FP32 of shape {list(signature.input_shape[1:])}, the body has {len(body)}")
    return _from_binary(memoryview(body), _shape([len(body) // each, *signature.input_shape[1:]], signature), signature)


def _finite(values: NDArray[np.float32]) -> NDArray[np.float32]:
    if not np.isfinite(values).all():
        raise RequestError("inputs[0]: it holds NaN or infinity, or a number beyond float32")
    return values


def _output(outputs: Any, parameters: dict[str, Any], signature: Signature) -> RequestedOutput:
    binary = _boolean(parameters.get("binary_data_output", False), "parameters.binary_data_output")
    if outputs is None or outputs == []:
        return RequestedOutput(binary)
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise RequestError(f"outputs: expected a list of one, {signature.output_name}, got {_shown(outputs)}")
    wanted = _object(outputs[0], "outputs[0]")
    if wanted.get("name") != signature.output_name:
        raise RequestError(f"outputs[0].name: the model {signature.model} gives {signature.output_name!r}, got {_shown(wanted.get('name'))}")
    own = _object(wanted.get("parameters", {}), "outputs[0].parameters")
    if "shared_memory_region" in own:
        raise RequestError("outputs[0].parameters: this server knows no shared memory")
    classes = own.get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise RequestError(f"outputs[0].parameters.classification: expected a number of classes, got {_shown(classes)}")
    return RequestedOutput(_boolean(own.get("binary_data", binary), "outputs[0].parameters.binary_data"), classes)


def _timeout(microseconds: Any) -> float | None:
    """Triton's request parameter `timeout`; 0 is none."""
    if microseconds is None:
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise RequestError(f"parameters.timeout: expected microseconds, got {_shown(microseconds)}")
    return microseconds / 1e6 or None


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise RequestError(f"{where}: expected a JSON object, got {_shown(value)}")
    return value


def _boolean(value: Any, where: str) -> bool:
    if not isinstance(value, bool):
        raise RequestError(f"{where}: expected true or false, got {_shown(value)}")
    return value


def _shown(value: Any) -> str:
    text = orjson.dumps(value, default=str).decode() if value is not None else "nothing"
    return text if len(text) <= 60 else text[:57] + "..."
