"""Two sides' logits, compared: how far they are apart, and whether they rank the classes alike."""

import numpy as np
from numpy.typing import NDArray

from torchless.engine.head import Head

TOP_K = 5

Logits = NDArray[np.floating]


def max_abs(difference: Logits) -> float:
    """The largest absolute value; NaN counts as infinite."""
    worst = float(np.abs(difference).max(initial=0.0))
    return worst if worst == worst else float("inf")


def best(logits: Logits, count: int = TOP_K) -> list[int]:
    """The best classes, the most probable first; of equal ones the lower index first."""
    return [int(index) for index in np.argsort(-logits, kind="stable")[:count]]


def same_order(wanted: Logits, got: Logits, tie: float, count: int = TOP_K) -> bool:
    """Whether both have the same `count` best classes in the same order; classes within `tie` of each other in `wanted`
    may change places.
    """
    return all(
        a == b or abs(float(wanted[a]) - float(wanted[b])) <= tie
        for a, b in zip(best(wanted, count), best(got, count), strict=True)
    )


def same_answer(head: Head, wanted: Logits, got: Logits, error: float, count: int = TOP_K) -> bool:
    """Whether both rows of a graph's outputs, (outputs,), lead to the same results, where either may be off by `error`:
    the `count` best classes in their order, or of a multi-label model the classes that reach their threshold.
    """
    if head.multi_label:
        differing = head.present(wanted) != head.present(got)
        return bool((np.abs(wanted - head.cuts())[differing] <= error).all())
    return same_order(head.scores(wanted), head.scores(got), 2 * error, count)


def noise(wanted: Logits, got: Logits) -> float:
    """The root mean square of the differences as a share of `wanted`'s standard deviation between images; both are
    (images, classes), and rows with NaN or infinity don't count. Infinite where there is nothing to measure it by.
    """
    apart = (got - wanted).astype(np.float64)[np.isfinite(got).all(axis=1)]
    spread = float(wanted.std(axis=0).mean()) if len(wanted) > 1 else float(wanted.std())
    return float(np.sqrt((apart**2).mean()) / spread) if apart.size and spread else float("inf")


def answer(head: Head, output: Logits) -> str:
    """The name of the best class of a row of a graph's outputs, (outputs,)."""
    return head.labels[best(head.scores(output), 1)[0]]
