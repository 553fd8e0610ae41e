"""What a model answers, by its head: one class for an image, or the set of classes that reach their threshold."""

from collections.abc import Callable, Iterator

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless.engine.head import Head
from torchless.model.manifest import Check

Logits = NDArray[np.floating]

_SUM_STEP = 1e-3  # of a softmax in float32, over a thousand classes
# Whatever else a network ends in can give any number, though it may happen to give small ones.
_BOUNDED = {"Sigmoid", "HardSigmoid", "Softmax", "Clip", "Div", "Reciprocal", "Exp"}
# These only move numbers.
_MOVING = {
    "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Cast", "Concat", "Slice", "Gather",
    "QuantizeLinear", "DequantizeLinear",
}  # fmt: skip


def answers(head: Head, outputs: Logits) -> NDArray[np.int64]:
    """For each row of outputs (N, outputs) the index of its class, (N, 1); of a multi-label model a 1 for each class
    that reaches its threshold, (N, labels).
    """
    found = head.present(outputs) if head.multi_label else head.scores(outputs).argmax(axis=1, keepdims=True)
    return np.asarray(found, np.int64)


def certainty(head: Head, outputs: Logits) -> NDArray[np.float64]:
    """The probability of each row's answer, (N,); of a multi-label model that of its least certain class."""
    probabilities = head.probabilities(outputs)
    if not head.multi_label:
        return np.asarray(probabilities.max(axis=1))
    return np.asarray(np.where(head.present(outputs), probabilities, 1 - probabilities).min(axis=1))


def check_activation(head: Head, outputs: Logits, graph: onnx.GraphProto) -> Check:
    """Whether the outputs of all test images, (N, outputs), are what the activation takes: logits, or for "none"
    probabilities.

    Numbers that are in 0..1 by chance are no probabilities: those of an image add up to 1, or the graph ends in a node
    that gives no others.
    """
    problem = _activation_problem(head, outputs, lambda: ends_bounded(graph))
    values = f"outputs from {outputs.min():.3g} to {outputs.max():.3g}"
    return Check(
        name="activation",
        passed=problem is None,
        figure=int(problem is not None),
        limit=0,
        detail=problem or f"{head.activation}: {values}",
    )


def _activation_problem(head: Head, outputs: Logits, bounded: Callable[[], bool]) -> str | None:
    within = bool((outputs >= 0).all() and (outputs <= 1).all())
    add_up = outputs.shape[1] > 1 and bool((np.abs(outputs.sum(axis=1) - 1) <= _SUM_STEP).all())
    if head.activation != "none":
        if within and add_up:
            return (
                "the outputs are probabilities already (0 to 1, those of an image add up to 1): the network ends in a "
                "softmax; give `activation` none"
            )
        if within and bounded():
            return (
                "the outputs are probabilities already (0 to 1, each by itself): the network ends in a sigmoid; give "
                f"`activation` none{' with `threshold`' * (not head.binary)}"
            )
        return None
    if not within:
        return (
            f"the outputs are no probabilities ({outputs.min():.3g} to {outputs.max():.3g}): give `activation` softmax "
            "or sigmoid"
        )
    if not (add_up or head.multi_label or head.binary):
        return "the outputs of an image do not add up to 1, so each class is decided by itself: give `threshold` too"
    return None


def ends_bounded(graph: onnx.GraphProto) -> bool:
    """Whether the first output comes from nodes that give only numbers of a certain range."""
    makers = {name: node for node in graph.node for name in node.output}
    found = list(_last_operators(graph.output[0].name, makers))
    return bool(found) and all(operator in _BOUNDED for operator in found)


def _last_operators(name: str, makers: dict[str, onnx.NodeProto]) -> Iterator[str]:
    node = makers.get(name)
    if node is None:
        return
    if node.op_type not in _MOVING:
        yield node.op_type
        return
    for source in node.input if node.op_type == "Concat" else node.input[:1]:
        yield from _last_operators(source, makers)
