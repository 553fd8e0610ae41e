"""Weights for int8, rounded so that the layer's output stays, not each weight: those that are rounded later make up for
the error of one, as far as their inputs vary together on the calibration images. It is the method of GPTQ (Frantar et
al., 2022, arxiv.org/abs/2210.17323). What is left of the error's mean goes into the bias.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchless_export.reduce.layers import Floats

MOST_INPUTS = 4608  # as many as 512 channels with a 3×3 kernel; with more, a layer is rounded plainly
_BLOCK, _DAMPING = 64, 0.1

Doubles = NDArray[np.float64]


@dataclass
class Moments:
    """Of a layer's inputs: sums of their products, (groups, inputs, inputs), and of themselves, (groups, inputs)."""

    products: Doubles
    sums: Doubles
    count: int = 0

    @classmethod
    def empty(cls, groups: int, inputs: int) -> "Moments":
        """Nothing seen. Of too many inputs only the sums are kept."""
        side = inputs if inputs <= MOST_INPUTS else 0
        return cls(np.zeros((groups, side, side)), np.zeros((groups, inputs)))

    def add(self, columns: Floats) -> None:
        """Columns (groups, inputs, positions)."""
        if self.products.size:
            self.products += columns @ columns.transpose(0, 2, 1)
        self.sums += columns.sum(axis=2, dtype=np.float64)
        self.count += columns.shape[2]

    @property
    def mean(self) -> Doubles:
        """(groups, inputs)."""
        return self.sums / max(1, self.count)

    def covariance(self, *, centred: bool) -> Doubles:
        """(groups, inputs, inputs); about zero if not centred."""
        mean = self.mean
        return self.products / max(1, self.count) - (mean[:, :, None] * mean[:, None, :] if centred else 0)


def round_layer(matrix: Floats, moments: Moments, *, levels: int, has_bias: bool) -> tuple[Floats, Floats]:
    """The weights (groups, outputs, inputs), each a multiple of the scale of its output, which is 1 / `levels` of the
    largest; and what to add to the bias, (groups × outputs).
    """
    scale = np.maximum(np.abs(matrix).max(axis=2, keepdims=True), 1e-12).astype(np.float64) / levels
    if moments.products.size and moments.count:
        steps = _compensated(matrix / scale, moments.covariance(centred=has_bias), levels)
    else:
        steps = np.round(matrix / scale)
    rounded = steps * scale
    shift = np.einsum("goi,gi->go", matrix - rounded, moments.mean)
    return rounded.astype(np.float32), shift.reshape(-1).astype(np.float32)


def _compensated(steps: Doubles, covariance: Doubles, levels: int) -> Doubles:
    """Whole numbers. The inputs that vary most go first."""
    variance = np.einsum("gii->gi", covariance)
    order = np.argsort(-variance, axis=1, kind="stable")
    damped = covariance + (_DAMPING * variance.mean(axis=1) + 1e-12)[:, None, None] * np.eye(variance.shape[1])
    damped = np.take_along_axis(np.take_along_axis(damped, order[:, :, None], 1), order[:, None, :], 2)
    factor = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    rows = np.broadcast_to(order[:, None, :], steps.shape)
    ordered = np.take_along_axis(steps, rows, 2)
    # The largest weight of an output sets its scale, so it stays as it is.
    largest = np.abs(ordered) >= levels * (1 - 1e-6)
    fixed = np.where(largest, np.round(ordered), np.nan)
    found = np.zeros_like(ordered)
    for start in range(0, ordered.shape[2], _BLOCK):
        end = min(start + _BLOCK, ordered.shape[2])
        errors = _round_block(ordered, fixed, found, factor, range(start, end), levels)
        ordered[:, :, end:] -= errors @ factor[:, start:end, end:]
    result = np.empty_like(found)
    np.put_along_axis(result, rows, found, 2)
    return result


def _round_block(
    ordered: Doubles, fixed: Doubles, found: Doubles, factor: Doubles, block: range, levels: int
) -> Doubles:
    """Rounds the inputs of a block and makes up for each error within it. Returns the errors, for those after it."""
    errors = np.zeros((*ordered.shape[:2], len(block)))
    for column in block:
        wanted = ordered[:, :, column]
        whole = np.clip(np.round(wanted), -levels, levels)
        found[:, :, column] = np.where(np.isnan(fixed[:, :, column]), whole, fixed[:, :, column])
        error = (wanted - found[:, :, column]) / factor[:, column, column][:, None]
        errors[:, :, column - block.start] = error
        rest = slice(column + 1, block.stop)
        ordered[:, :, rest] -= error[:, :, None] * factor[:, None, column, rest]
    return errors
