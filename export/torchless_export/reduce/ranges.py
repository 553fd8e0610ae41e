"""The range of each activation: as wide as makes the squared error of 8 bits least on the images seen. A few outliers
are cut off where finer steps for all others are worth more.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless_export.gate.node_values import NodeValues, node_values
from torchless_export.reduce.images import Batch

_BINS, _STEPS, _VALUES = 2048, 255, 5_000  # of an image, at most so many values of a tensor
_LARGEST = np.finfo(np.float32).max
_SHARES = np.linspace(0.2, 1, 81)

Floats = NDArray[np.float32]
Range = tuple[np.float32, np.float32]


def ranges_of(model: onnx.ModelProto, batches: Sequence[Batch], input_name: str) -> dict[str, Range]:
    """By tensor; each holds 0. Two passes over the images: for the extremes, and for histograms between them."""
    values = node_values(model, input_name)
    lows, highs = dict[str, float](), dict[str, float]()
    for name, value in _seen(values, batches, input_name):
        low, high = np.clip([value.min(), value.max()], -_LARGEST, _LARGEST)  # masks of attention hold infinity
        lows[name] = min(lows.get(name, 0.0), float(low))
        highs[name] = max(highs.get(name, 0.0), float(high))
    counts = {name: np.zeros(_BINS, np.int64) for name in lows}
    for name, value in _seen(values, batches, input_name):
        sample = value.reshape(-1)[:: max(1, value.size // _VALUES)]
        ends = (lows[name], max(highs[name], lows[name] + 1e-12))
        counts[name] += np.histogram(sample[sample != 0], bins=_BINS, range=ends)[0]
    return {name: best_range(lows[name], highs[name], counts[name]) for name in counts}


def best_range(low: float, high: float, counts: NDArray[np.int64]) -> Range:
    """`counts` are those of values other than 0 in equal parts of `low`..`high`, which holds 0."""
    if counts.sum() == 0 or low >= high:
        return np.float32(low), np.float32(high)
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    lows, highs = _SHARES * low, _SHARES * high
    below = np.square(np.minimum(centres - lows[:, None], 0)) @ counts
    above = np.square(np.maximum(centres - highs[:, None], 0)) @ counts
    rounding = np.square((highs - lows[:, None]) / _STEPS) / 12 * counts.sum()
    row, column = np.unravel_index(np.argmin(below[:, None] + above + rounding), rounding.shape)
    return np.float32(lows[row]), np.float32(highs[column])


def _seen(values: NodeValues, batches: Iterable[Batch], input_name: str) -> Iterable[tuple[str, Floats]]:
    for batch in batches:
        yield input_name, batch
        yield from ((name, value) for name, value in values(batch).items() if value.size)
