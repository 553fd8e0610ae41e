"""torch's two exporters, and the versions of ONNX's operators that each can write. Imports nothing heavy: the command
line shows them.
"""

from collections.abc import Mapping
from typing import Literal, get_args

from torchless.errors import UsageError

Exporter = Literal["dynamo", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)  # in the order in which "auto" tries them

INPUT_NAME, OUTPUT_NAME, BATCH_AXIS = "input", "logits", "batch"  # in every plain export
DEFAULT_OPSET = 20
# The oldest and the newest opset. ONNX's own converter does not bring the dynamo exporter's 18 further down: it has no
# way for Split and leaves ReduceMean invalid. Below 9 a graph lists its weights as inputs too, where the TorchScript
# exporter would stop at 7.
OPSETS: Mapping[Exporter, tuple[int, int]] = {"dynamo": (18, 20), "torchscript": (9, 20)}
OLDEST_OPSET, NEWEST_OPSET = min(oldest for oldest, _ in OPSETS.values()), max(newest for _, newest in OPSETS.values())


def exporters_for(opset: int, wanted: Exporter | Literal["auto"] = "auto") -> tuple[Exporter, ...]:
    """The exporters to try for `opset`, in order. Raises UsageError where none of those `wanted` can write it."""
    if wanted not in (*EXPORTERS, "auto"):
        raise UsageError(f"unknown exporter {wanted!r}; it is one of auto, {', '.join(EXPORTERS)}")
    asked = EXPORTERS if wanted == "auto" else (wanted,)
    able = tuple(exporter for exporter in asked if OPSETS[exporter][0] <= opset <= OPSETS[exporter][1])
    if not able:
        ranges = ", ".join(
            f"the {exporter} exporter writes {oldest} to {newest}" for exporter, (oldest, newest) in OPSETS.items()
        )
        raise UsageError(f"`opset` {opset} cannot be written with `exporter` {wanted}: {ranges}")
    return able
