"""The range of each activation, from histograms: as wide as makes the squared error of 8 bits least. A few outliers are
cut off if the finer steps are worth more.
"""

import numpy as np
from numpy.typing import NDArray

BINS, _STEPS = 2048, 255
_SHARES = np.linspace(0.2, 1, 81)


def best_range(low: float, high: float, counts: NDArray[np.int64]) -> tuple[np.float32, np.float32]:
    """`counts` are those of values other than 0 in BINS equal parts of `low`..`high`. Returns a range that holds 0."""
    if counts.sum() == 0 or low >= high:
        return np.float32(min(low, 0)), np.float32(max(high, 0))
    centres = low + (np.arange(len(counts)) + 0.5) * (high - low) / len(counts)
    lows, highs = _SHARES * min(low, 0), _SHARES * max(high, 0)
    below = np.square(np.minimum(centres - lows[:, None], 0)) @ counts
    above = np.square(np.maximum(centres - highs[:, None], 0)) @ counts
    rounding = np.square((highs - lows[:, None]) / _STEPS) / 12 * counts.sum()
    row, column = np.unravel_index(np.argmin(below[:, None] + above + rounding), rounding.shape)
    return np.float32(lows[row]), np.float32(highs[column])
