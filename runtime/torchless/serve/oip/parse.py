"""The Open Inference Protocol v2 in JSON and with the binary tensor extension: from bytes to meaning and back. It knows
nothing of HTTP.

Sources: github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md), and Triton's extensions
extension_binary_data.md and extension_classification.md in github.com/triton-inference-server/server/docs/protocol.
"""

import struct
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from torchless.records import dataclass
from torchless.serve.documents import load_document
from torchless.serve.errors import RequestError
from torchless.serve.jobs import Source
from torchless.serve.oip.tensors import (
    Interface,
    json_boolean,
    json_object,
    optional_object,
    own_parameters,
    raw_sources,
    shown,
    tensor_sources,
)


@dataclass(frozen=True)
class RequestedOutput:
    """How the output is requested: as bytes after the JSON or inside it; in full, or the `classes` best as text."""

    binary: bool
    classes: int = 0


@dataclass(frozen=True)
class InferRequest:
    """A valid request: each image either encoded (bytes) or as the model takes it."""

    sources: Sequence[Source]
    output: RequestedOutput
    id: str | None = None
    timeout_s: float | None = None


def parse_request(body: bytes, json_length: int | None, interface: Interface) -> InferRequest:
    """Parses a body. `json_length` is the header Inference-Header-Content-Length, None if absent. Raises RequestError,
    which names the field.
    """
    if json_length == 0:
        return InferRequest(raw_sources(body, interface), RequestedOutput(binary=True))
    if json_length is not None and not 0 < json_length <= len(body):
        raise RequestError(
            f"Inference-Header-Content-Length says {json_length} bytes of JSON, the body has {len(body)} bytes"
        )
    document = load_document(body if json_length is None else body[:json_length])
    binary = memoryview(body)[len(body) if json_length is None else json_length :]
    return request_of(
        json_object(document.root, "the request"),
        lambda tensor: tensor_sources(tensor, binary, document.runs, interface),
        interface,
    )


def request_of(
    document: dict[str, Any],
    sources: Callable[[dict[str, Any]], Sequence[Source]],
    interface: Interface,
) -> InferRequest:
    """The request that `document` describes; `sources` makes images of its one tensor. Raises RequestError."""
    parameters = optional_object(document.get("parameters"), "parameters")
    request_id = document.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise RequestError(f"id: expected text, got {shown(request_id)}")
    output = _output(document.get("outputs"), parameters, interface)
    timeout_s = _timeout(parameters.get("timeout"))
    return InferRequest(sources(_the_input(document, interface)), output, request_id, timeout_s)


def encode_response(
    request: InferRequest, logits: NDArray[np.float32], interface: Interface
) -> tuple[bytes, int | None]:
    """The body for finite logits, float32 (N, classes), and the length of its JSON if bytes follow it."""
    tensor, data = encode_output(request.output, logits, interface)
    document: dict[str, Any] = {"model_name": interface.model, "model_version": interface.version, "outputs": [tensor]}
    if request.id is not None:
        document["id"] = request.id
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (text, None) if data is None else (text + data, len(text))


def encode_output(
    output: RequestedOutput, logits: NDArray[np.float32], interface: Interface
) -> tuple[dict[str, Any], bytes | None]:
    """The output's tensor as in JSON, and its bytes if it is requested as bytes."""
    if output.classes:
        rows = _best_as_text(logits, output.classes, interface.labels)
        texts = list(chain.from_iterable(rows))
        tensor: dict[str, Any] = {
            "name": interface.output_name,
            "datatype": "BYTES",
            "shape": [len(rows), len(rows[0])],
        }
        data: Any = b"".join(_counted(text.encode()) for text in texts) if output.binary else texts
    else:
        tensor = {"name": interface.output_name, "datatype": "FP32", "shape": list(logits.shape)}
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


def _the_input(document: dict[str, Any], interface: Interface) -> dict[str, Any]:
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise RequestError(f"inputs: expected a list of one tensor, {interface.input_name}, got {shown(inputs)}")
    tensor = json_object(inputs[0], "inputs[0]")
    if tensor.get("name") != interface.input_name:
        raise RequestError(
            f"inputs[0].name: the model {interface.model} takes {interface.input_name!r}, got "
            f"{shown(tensor.get('name'))}"
        )
    if tensor.get("datatype") not in interface.datatypes:
        raise RequestError(
            f"inputs[0].datatype: {interface.input_name} is {' or '.join(interface.datatypes)}, got "
            f"{shown(tensor.get('datatype'))}"
        )
    return tensor


def _output(outputs: Any, parameters: dict[str, Any], interface: Interface) -> RequestedOutput:
    binary = _boolean(parameters, "binary_data_output", False, "parameters")
    if outputs is None or outputs == []:
        return RequestedOutput(binary)
    if not isinstance(outputs, list) or len(outputs) > 1:
        raise RequestError(f"outputs: expected a list of one, {interface.output_name}, got {shown(outputs)}")
    wanted = json_object(outputs[0], "outputs[0]")
    if wanted.get("name") != interface.output_name:
        raise RequestError(
            f"outputs[0].name: the model {interface.model} gives {interface.output_name!r}, got "
            f"{shown(wanted.get('name'))}"
        )
    own = own_parameters(wanted, "outputs[0]")
    classes = own.get("classification") or 0
    if type(classes) is not int or classes < 0:
        raise RequestError(f"outputs[0].parameters.classification: expected a number of classes, got {shown(classes)}")
    return RequestedOutput(_boolean(own, "binary_data", binary, "outputs[0].parameters"), classes)


def _boolean(parameters: dict[str, Any], name: str, default: bool, where: str) -> bool:
    given = parameters.get(name)
    return default if given is None else json_boolean(given, f"{where}.{name}")


def _timeout(microseconds: Any) -> float | None:
    """Triton's request parameter `timeout`; 0 means none."""
    if microseconds is None:
        return None
    if type(microseconds) is not int or microseconds < 0:
        raise RequestError(f"parameters.timeout: expected microseconds, got {shown(microseconds)}")
    return microseconds / 1e6 or None
