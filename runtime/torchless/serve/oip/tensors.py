"""The tensors of an Open Inference Protocol request: what a model takes, and from JSON, bytes or numbers to what the
batcher takes.
"""

import base64
import math
from collections.abc import Mapping, Sequence
from itertools import chain
from typing import Any, Literal

import numpy as np
import orjson
from numpy.typing import NDArray

from torchless.records import dataclass
from torchless.serve.documents import Numbers, numbers
from torchless.serve.errors import RequestError
from torchless.serve.jobs import Source

Datatype = Literal["FP32", "UINT8", "BYTES"]
Runs = Mapping[str, Sequence[Numbers]]

_ELEMENTS: dict[str, np.dtype[Any]] = {"FP32": np.dtype("<f4"), "UINT8": np.dtype("u1")}
_DECODED_AT_ONCE = 1 << 18  # characters of base64, a multiple of four


@dataclass(frozen=True, kw_only=True)
class Interface:
    """The input and output of a model of the protocol. Shapes are as in its metadata: -1 for any size, the number of
    images first. `labels` are those of the outputs. `versions` are all that the model has.
    """

    model: str
    input_name: str
    datatype: Datatype
    input_shape: tuple[int, ...]
    output_name: str
    labels: tuple[str, ...]
    max_images: int
    version: str = "1"
    versions: tuple[str, ...] = ("1",)

    @property
    def encoded(self) -> bool:
        """Whether it takes encoded images: BYTES, or UINT8, whose rows are then the bytes of one image each."""
        return self.datatype == "BYTES"

    @property
    def datatypes(self) -> tuple[Datatype, ...]:
        return ("BYTES", "UINT8") if self.encoded else (self.datatype,)

    def shapes(self, datatype: Datatype) -> tuple[tuple[int, ...], ...]:
        """The shapes that a request may give its tensor."""
        if not self.encoded:
            return (self.input_shape,)
        return ((-1,), (-1, 1)) if datatype == "BYTES" else ((-1, -1), (-1,))

    def metadata(self) -> dict[str, Any]:
        """The body of GET /v2/models/{model}."""
        return {
            "name": self.model,
            "versions": list(self.versions),
            "platform": "torchless" if self.encoded else "onnxruntime_onnx",
            "inputs": [{"name": self.input_name, "datatype": self.datatype, "shape": list(self.input_shape)}],
            "outputs": [{"name": self.output_name, "datatype": "FP32", "shape": [-1, len(self.labels)]}],
        }

    def configuration(self) -> dict[str, Any]:
        """What of Triton's ModelConfig follows from it. A model with a batch axis has it in `max_batch_size` instead of
        in the dimensions; one that takes encoded images has no axis but that.
        """
        batched = len(self.input_shape) > 1
        dims = self.input_shape[1:] if batched else self.input_shape
        type_of = {"BYTES": "TYPE_STRING"}.get(self.datatype, f"TYPE_{self.datatype}")
        output = [len(self.labels)] if batched else [-1, len(self.labels)]
        return {
            "name": self.model,
            "platform": self.metadata()["platform"],
            "max_batch_size": self.max_images if batched else 0,
            "input": [{"name": self.input_name, "data_type": type_of, "dims": list(dims)}],
            "output": [{"name": self.output_name, "data_type": "TYPE_FP32", "dims": output}],
        }


@dataclass(frozen=True)
class Tensor:
    """What a request says of its tensor, without the numbers. The first side of `shape` is the number of images."""

    shape: tuple[int, ...]
    datatype: Datatype
    interface: Interface

    @classmethod
    def of(cls, shape: Any, datatype: Datatype, interface: Interface) -> "Tensor":
        """Raises RequestError for a shape that the model does not take."""
        wanted = interface.shapes(datatype)
        if not any(_fits(shape, form) for form in wanted):
            forms = " or ".join(str(list(form)) for form in wanted)
            raise RequestError(f"inputs[0].shape: expected {forms} with 1 or more for -1, got {shown(shape)}")
        one_image = interface.encoded and datatype == "UINT8" and len(shape) == 1
        sides = (1, *shape) if one_image else tuple(shape)
        if sides[0] > interface.max_images:
            raise RequestError(
                f"inputs[0].shape: {sides[0]} images, the server takes at most {interface.max_images} at once "
                f"(--max-queue)"
            )
        return cls(sides, datatype, interface)

    def from_numbers(self, values: NDArray[Any]) -> Sequence[Source]:
        """Of as many uint8 or float32 as the shape says, in row-major order."""
        images = values.reshape(self.shape)
        return [image.tobytes() for image in images] if self.interface.encoded else list(_finite(images))

    def from_bytes(self, data: memoryview) -> Sequence[Source]:
        """Raises RequestError if they are more or fewer than the shape says."""
        if self.datatype == "BYTES":
            return _split(data, self.shape[0])
        element = _ELEMENTS[self.datatype]
        size = element.itemsize * math.prod(self.shape)
        if len(data) != size:
            raise RequestError(
                f"inputs[0]: {self.datatype} of shape {list(self.shape)} takes {size} bytes, got {len(data)}"
            )
        return self.from_numbers(np.frombuffer(data, element))

    def from_json(self, data: Any, runs: Runs) -> Sequence[Source]:
        """From lists, nested or not; `runs` are those of a Document."""
        flat = _flatten(data)
        if self.datatype == "BYTES":
            self.check_count(len(flat))
            return [_from_base64(item, i) for i, item in enumerate(flat)]
        values = _numbers(flat, runs)
        self.check_count(len(values))
        if self.datatype == "UINT8" and values.dtype != np.uint8:
            raise RequestError("inputs[0].data: expected only whole numbers from 0 to 255")
        return self.from_numbers(values if self.datatype == "UINT8" else values.astype(np.float32, copy=False))

    def check_count(self, found: int) -> None:
        """Raises RequestError for another number of elements than the shape says."""
        count = math.prod(self.shape)
        if found != count:
            raise RequestError(f"inputs[0].data: the shape {list(self.shape)} has {count} elements, data has {found}")


def tensor_sources(tensor: dict[str, Any], binary: memoryview, runs: Runs, interface: Interface) -> Sequence[Source]:
    """The images of a tensor whose name and datatype are right: from its data, or from the bytes after the JSON."""
    given = Tensor.of(tensor.get("shape"), tensor["datatype"], interface)
    size, data = own_parameters(tensor, "inputs[0]").get("binary_data_size"), tensor.get("data")
    if size is None:
        if binary:
            raise RequestError(f"{len(binary)} bytes follow the JSON, but no input claims them (binary_data_size)")
        if data is None:
            raise RequestError("inputs[0]: it has neither data nor parameters.binary_data_size")
        return given.from_json(data, runs)
    if data is not None:
        raise RequestError("inputs[0]: it has data both in the JSON and in bytes after it; send only one")
    if type(size) is not int or size != len(binary):
        raise RequestError(
            f"inputs[0].parameters.binary_data_size: {shown(size)} bytes should follow the JSON, {len(binary)} do"
        )
    return given.from_bytes(binary)


def own_parameters(tensor: dict[str, Any], where: str) -> dict[str, Any]:
    """The parameters of an input or output."""
    parameters = optional_object(tensor.get("parameters"), f"{where}.parameters")
    if "shared_memory_region" in parameters:
        raise RequestError(f"{where}.parameters: this server does not support shared memory; send the tensor itself")
    return parameters


def _fits(shape: Any, wanted: tuple[int, ...]) -> bool:
    return (
        isinstance(shape, list)
        and len(shape) == len(wanted)
        and all(type(side) is int and side > 0 for side in shape)
        and all(want in (-1, side) for side, want in zip(shape[1:], wanted[1:], strict=True))
    )


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


def _numbers(flat: list[Any], runs: Runs) -> Numbers:
    parts, done = [], 0
    try:
        for i, item in enumerate(flat if runs else ()):
            if isinstance(item, str) and item in runs:
                parts += [numbers(flat[done:i]), *runs[item]]
                done = i + 1
        return np.concatenate([*parts, numbers(flat[done:])])
    except ValueError:
        raise RequestError("inputs[0].data: expected only numbers") from None


def _from_base64(item: Any, index: int) -> bytes:
    try:
        if not isinstance(item, str) or item.find("=", 0, -2) >= 0:
            raise ValueError
        pieces = (item[start : start + _DECODED_AT_ONCE] for start in range(0, len(item), _DECODED_AT_ONCE))
        return b"".join(base64.b64decode(piece, validate=True) for piece in pieces)
    except ValueError:  # and binascii.Error, which is one
        raise RequestError(
            f"inputs[0].data[{index}]: in JSON an image is base64 text; or send it as bytes (binary_data_size)"
        ) from None


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
    if interface.encoded:
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
    shape = [len(body) // each, *interface.input_shape[1:]]
    return Tensor.of(shape, interface.datatype, interface).from_bytes(memoryview(body))


def _finite(values: NDArray[Any]) -> NDArray[Any]:
    if not np.isfinite(values).all():
        raise RequestError("inputs[0]: it contains NaN or infinity, or a number beyond float32")
    return values


def json_object(value: Any, where: str) -> dict[str, Any]:
    """Raises RequestError if it is none."""
    if not isinstance(value, dict):
        raise RequestError(f"{where}: expected a JSON object, got {shown(value)}")
    return value


def optional_object(value: Any, where: str) -> dict[str, Any]:
    """The same, for one that may be absent or null."""
    return {} if value is None else json_object(value, where)


def json_boolean(value: Any, where: str) -> bool:
    """Raises RequestError if it is neither true nor false."""
    if not isinstance(value, bool):
        raise RequestError(f"{where}: expected true or false, got {shown(value)}")
    return value


def shown(value: Any) -> str:
    """At most 60 characters of a value, for messages."""
    try:
        text = orjson.dumps(value, default=str).decode() if value is not None else "nothing"
    except TypeError:  # orjson reads deeper lists than it writes
        text = "lists in lists"
    return text if len(text) <= 60 else text[:57] + "..."
