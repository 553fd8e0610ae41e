"""The input and output of an artifact, as Triton names them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torchless.engine.head import make_head
from torchless.engine.session import open_session
from torchless.errors import ArtifactError
from torchless.model.artifact import Artifact, read_artifact
from torchless.records import dataclass

# ONNX Runtime's names of types → Triton's (docs/user_guide/model_configuration.md#datatypes).
_TYPES = {
    "float16": "TYPE_FP16", "float": "TYPE_FP32", "double": "TYPE_FP64", "uint8": "TYPE_UINT8", "int8": "TYPE_INT8",
    "int32": "TYPE_INT32", "int64": "TYPE_INT64",
}  # fmt: skip
ANY = -1


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


def _has_batch_axis(source: Sequence[object], target: Sequence[object]) -> bool:
    """Whether the first dimension of both is the same one, of any size."""
    return bool(source) and bool(target) and source[0] == target[0] and not isinstance(source[0], int)


def _tensor(model: Path, found: Any, batched: bool) -> Tensor:
    kind = found.type.removeprefix("tensor(").removesuffix(")")
    if kind not in _TYPES:
        raise ArtifactError(f"{model}: Triton has no type for {found.name}, which is {found.type}")
    shape = tuple(size if isinstance(size, int) else ANY for size in found.shape)
    return Tensor(found.name, _TYPES[kind], shape[1:] if batched else shape)
