"""What Triton Inference Server must know about an artifact: the text of its config.pbtxt.

Names, types and dimensions are those that ONNX Runtime finds in the file, so artifacts with preprocessing in the graph
(uint8 images of any size) are described correctly. The format is Triton's ModelConfig message
(github.com/triton-inference-server/common, model_config.proto) as protobuf text; tests parse it with Triton's own
class.
"""

import json
from collections.abc import Iterable
from typing import Any

from torchless.triton.execution import execution
from torchless.triton.interface import ANY, Interface
from torchless.triton.options import TritonOptions

MODEL_FILE, LABELS_FILE = "model.onnx", "labels.txt"  # the first is the name that Triton looks for by default
_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "cuda": "KIND_GPU"}


def config_text(name: str, interface: Interface, options: TritonOptions) -> str:
    """The config.pbtxt of a model called `name`."""
    source, target = interface.input, interface.output
    message: dict[str, Any] = {
        "name": name,
        "backend": "onnxruntime",
        "default_model_filename": MODEL_FILE,
        "max_batch_size": options.max_batch_size if interface.batched else 0,
        "input": {"name": source.name, "data_type": _Word(source.data_type), "dims": source.shape},
        "output": {
            "name": target.name,
            "data_type": _Word(target.data_type),
            "dims": target.shape,
            "label_filename": LABELS_FILE,
        },
        "instance_group": {"count": options.instances, "kind": _Word(_KINDS[options.device])},
        "version_policy": {"latest": {"num_versions": 1}},
    }
    if interface.batched:
        preferred = preferred_sizes(options.max_batch_size)
        message["dynamic_batching"] = {
            "preferred_batch_size": preferred,
            "max_queue_delay_microseconds": options.delay_us,
        }
    message["model_warmup"] = [
        _warm_up(interface, size) for size in (range(1, options.max_batch_size + 1) if interface.batched else [0])
    ]
    message |= execution(interface, options)
    return "".join(f"{line}\n" for line in _lines(message))


def preferred_sizes(max_batch_size: int) -> tuple[int, ...]:
    """Half of the largest batch, and that: Triton runs these as soon as it has them, without waiting for more."""
    return tuple(sorted({size for size in (max_batch_size // 2, max_batch_size) if size > 1})) or (1,)


def _warm_up(interface: Interface, size: int) -> dict[str, Any]:
    """A request of `size` images before the first real one; a dimension of any size is set to the longer side of the
    network's images.
    """
    side, source = max(interface.artifact.manifest.image_size), interface.input
    dims = tuple(side if size == ANY else size for size in source.shape)
    inputs = {"key": source.name, "value": {"data_type": _Word(source.data_type), "dims": dims, "random_data": True}}
    return {
        "name": f"batch of {size}" if size else "one image",
        **({"batch_size": size} if size else {}),
        "inputs": inputs,
    }


class _Word(str):
    """The name of an enum's value, which is written without quotes."""

    __slots__ = ()


def _lines(message: dict[str, Any], indent: str = "") -> Iterable[str]:
    """A message as protobuf text (protobuf.dev/reference/protobuf/textformat-spec).

    A tuple is a repeated number, a list is repeated messages.
    """
    for name, value in message.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dict):
                yield f"{indent}{name} {{"
                yield from _lines(one, indent + "  ")
                yield f"{indent}}}"
            else:
                yield f"{indent}{name}: {_scalar(one)}"


def _scalar(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    if isinstance(value, str) and not isinstance(value, _Word):
        return json.dumps(value)  # its escapes are valid in protobuf
    return str(value).lower() if isinstance(value, bool) else str(value)
