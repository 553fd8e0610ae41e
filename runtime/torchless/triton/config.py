"""What Triton Inference Server must know about an artifact: the text of its config.pbtxt.

Names, types and dimensions are those that ONNX Runtime finds in the file, so artifacts with preprocessing in the graph
(uint8 images of any size) are described correctly. The format is Triton's ModelConfig message
(github.com/triton-inference-server/common, model_config.proto) as protobuf text; tests parse it with Triton's own
class.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchless.engine.head import make_head
from torchless.engine.session import open_session
from torchless.errors import ArtifactError
from torchless.model.artifact import Artifact, read_artifact
from torchless.triton.execution import execution
from torchless.triton.options import TritonOptions

MODEL_FILE, LABELS_FILE = "model.onnx", "labels.txt"  # the first is the name that Triton looks for by default
# ONNX Runtime's names of types → Triton's (docs/user_guide/model_configuration.md#datatypes).
_TYPES = {
    "float16": "TYPE_FP16", "float": "TYPE_FP32", "double": "TYPE_FP64", "uint8": "TYPE_UINT8", "int8": "TYPE_INT8",
    "int32": "TYPE_INT32", "int64": "TYPE_INT64",
}  # fmt: skip
_ANY = -1

_KINDS = {"auto": "KIND_AUTO", "cpu": "KIND_CPU", "cuda": "KIND_GPU"}


@dataclass(frozen=True)
class Tensor:
    """An input or output; `shape` has -1 for a dimension of any size, and excludes the batch axis if the model has
    one.
    """

    name: str
    data_type: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Interface:
    """The input and output of `artifact`, and the `labels` of its outputs; `batched` if the first axis of both is a
    batch of any number of images.
    """

    input: Tensor
    output: Tensor
    batched: bool
    artifact: Artifact
    labels: tuple[str, ...]


def read_interface(model: Path) -> Interface:
    """The interface of an artifact, as ONNX Runtime loads it. Raises ArtifactError."""
    artifact = read_artifact(model)
    session = open_session(artifact.file, device="cpu", threads=1).onnx
    inputs, outputs = session.get_inputs(), session.get_outputs()
    if len(inputs) != 1 or len(outputs) != 1:
        raise ArtifactError(
            f"{model} has {len(inputs)} inputs and {len(outputs)} outputs; a classifier for Triton has one of each"
        )
    source, target = inputs[0], outputs[0]
    batched = _has_batch_axis(source.shape, target.shape)
    ends = _tensor(model, source, batched), _tensor(model, target, batched)
    classes = target.shape[-1] if target.shape and isinstance(target.shape[-1], int) else None
    head = make_head(artifact.manifest.output, artifact.manifest.labels, classes)
    return Interface(*ends, batched, artifact, head.output_labels)


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


def _has_batch_axis(source: Sequence[object], target: Sequence[object]) -> bool:
    """Whether the first dimension of both is the same one, of any size."""
    return bool(source) and bool(target) and source[0] == target[0] and not isinstance(source[0], int)


def _tensor(model: Path, found: Any, batched: bool) -> Tensor:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _TYPES:
        raise ArtifactError(f"{model}: Triton has no type for {found.name}, which is {found.type}")
    shape = tuple(size if isinstance(size, int) else _ANY for size in found.shape)
    return Tensor(found.name, _TYPES[kind], shape[1:] if batched else shape)


def _warm_up(interface: Interface, size: int) -> dict[str, Any]:
    """A request of `size` images before the first real one; a dimension of any size is set to the longer side of the
    network's images.
    """
    side, source = max(interface.artifact.manifest.image_size), interface.input
    dims = tuple(side if size == _ANY else size for size in source.shape)
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
