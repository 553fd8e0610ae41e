"""ModelInfer's messages: from a ModelInferRequest to what the batcher takes, and back from logits.

Source: grpc_service.proto in github.com/triton-inference-server/common.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.serve.errors import RequestError
from torchless.serve.grpc.messages import ModelInferResponse
from torchless.serve.jobs import Source
from torchless.serve.oip.parse import InferRequest, encode_output, request_of
from torchless.serve.oip.tensors import Interface, Tensor, own_parameters

_AT_ONCE = 1 << 16  # numbers that are copied while other threads wait
_CONTENTS = {"FP32": "fp32_contents", "UINT8": "uint_contents", "BYTES": "bytes_contents"}


def infer_request(message: Any, interface: Interface) -> InferRequest:
    """Raises RequestError, which names the field as the JSON form does."""
    document = {
        "id": message.id or None,
        "parameters": _parameters(message.parameters),
        "inputs": [
            {
                "name": tensor.name,
                "datatype": tensor.datatype,
                "shape": list(tensor.shape),
                "parameters": _parameters(tensor.parameters),
            }
            for tensor in message.inputs
        ],
        "outputs": [{"name": output.name, "parameters": _parameters(output.parameters)} for output in message.outputs],
    }
    request = request_of(document, lambda tensor: _sources(tensor, message, interface), interface)
    return replace(request, output=replace(request.output, binary=True))


def infer_response(request: InferRequest, logits: NDArray[np.float32], interface: Interface) -> Any:
    """A ModelInferResponse with raw_output_contents, as Triton's always is."""
    tensor, data = encode_output(request.output, logits, interface)
    return ModelInferResponse(
        model_name=interface.model,
        model_version=interface.version,
        id=request.id or "",
        outputs=[{name: tensor[name] for name in ("name", "datatype", "shape")}],
        raw_output_contents=[data],
    )


def _parameters(given: Any) -> dict[str, Any]:
    choices = ((name, parameter, parameter.WhichOneof("parameter_choice")) for name, parameter in given.items())
    return {name: getattr(parameter, choice) for name, parameter, choice in choices if choice is not None}


def _sources(tensor: dict[str, Any], message: Any, interface: Interface) -> Sequence[Source]:
    given = Tensor.of(tensor["shape"], tensor["datatype"], interface)
    own_parameters(tensor, "inputs[0]")
    raw, contents = message.raw_input_contents, message.inputs[0].contents
    if raw and contents.ByteSize():
        raise RequestError("inputs[0]: it has both contents and raw_input_contents; send only one")
    if len(raw) > 1:
        raise RequestError(f"raw_input_contents: expected one, for the one input, got {len(raw)}")
    if raw:
        return given.from_bytes(memoryview(raw[0]))
    values = getattr(contents, _CONTENTS[given.datatype])
    given.check_count(len(values))
    if given.datatype == "BYTES":
        return list(values)
    return given.from_numbers(_array(values, given.datatype))


def _array(values: Any, datatype: str) -> NDArray[Any]:
    pieces = [values[start : start + _AT_ONCE] for start in range(0, len(values), _AT_ONCE)]
    if datatype == "FP32":
        return np.concatenate([np.array(piece, np.float32) for piece in pieces])
    if max(chain.from_iterable(pieces)) > 255:
        raise RequestError("inputs[0].contents: expected only whole numbers from 0 to 255")
    return np.concatenate([np.array(piece, np.uint8) for piece in pieces])
