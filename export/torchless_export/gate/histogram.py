"""How many logits are how far from PyTorch's: what the report draws."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchless_export.gate.evidence import Evidence

_BINS_PER_DECADE = 4
# The lowest bar has all that is smaller: at most this share of the logits, and nothing above this share of the unit.
_TAIL, _SMALLEST_SHOWN = 0.02, 1e-3
_BEYOND = 1.8  # times the limit, so that there is room for its name


@dataclass(frozen=True)
class Bar:
    """`left`, `width` and `height` are shares of the plot; `count` logits, a `share` of all, have errors from `low` to
    `high`.
    """

    left: float
    width: float
    height: float
    count: int
    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Histogram:
    """On a logarithmic axis; `marks` are (share of the width, name, value), the largest first; `ticks` (share of the
    width, power of 10). `exact` of `total` logits are equal to the last bit, and in no bar.
    """

    bars: tuple[Bar, ...]
    marks: tuple[tuple[float, str, float], ...]
    ticks: tuple[tuple[float, int], ...]
    exact: int
    total: int


def histogram(evidence: Evidence, name: str, batch_size: int) -> Histogram:
    """Of the set of images `name`, run in batches of that size."""
    found, limits = evidence.sets[name], evidence.limits(name)
    errors = np.abs(found.runs[batch_size] - found.reference).ravel()
    errors = errors[np.isfinite(errors)]
    positive = errors[errors > 0]
    low, high = _ends(positive, limits.unit, limits.absolute)
    edges = np.linspace(low, high, round((high - low) * _BINS_PER_DECADE) + 1)
    counts, _ = np.histogram(np.log10(positive).clip(low, high), edges)

    def place(value: float) -> float:
        return float(np.clip((np.log10(value) - low) / (high - low), 0, 1))

    marks = [("limit", limits.absolute)]
    if found.own_error is not None:
        marks.append(("PyTorch's own error", limits.unit))
    if positive.size:
        marks.append(("largest", float(positive.max())))
    return Histogram(
        bars=_bars(counts, edges, errors.size),
        marks=tuple((place(value), text, value) for text, value in sorted(marks, key=lambda mark: -mark[1])),
        ticks=tuple((place(10.0**tick), int(tick)) for tick in np.arange(np.ceil(low), high + 1e-9)),
        exact=int((errors == 0).sum()),
        total=int(errors.size),
    )


def _ends(positive: NDArray[np.float64], unit: float, limit: float) -> tuple[float, float]:
    """Of the axis, as powers of 10 in steps of a bar: from where the tail begins to beyond the limit."""
    tail = float(np.quantile(positive, _TAIL)) if positive.size else 0.0
    low = np.log10(max(tail, unit * _SMALLEST_SHOWN))
    high = np.log10(max(float(positive.max(initial=0.0)), limit * _BEYOND))
    return (
        float(np.floor(low * _BINS_PER_DECADE) / _BINS_PER_DECADE),
        float(np.ceil(high * _BINS_PER_DECADE) / _BINS_PER_DECADE),
    )


def _bars(counts: NDArray[np.int_], edges: NDArray[np.float64], total: int) -> tuple[Bar, ...]:
    width, tallest = 1 / len(counts), max(int(counts.max(initial=0)), 1)
    return tuple(
        Bar(
            left=number * width, width=width, height=int(count) / tallest, count=int(count), share=int(count) / total,
            low=float(10 ** edges[number]) if number else 0.0, high=float(10 ** edges[number + 1]),
        )
        for number, count in enumerate(counts)
        if count
    )  # fmt: skip
