"""Samples of 16 or 32 bits, or floats, as 8 bits; and whether their values look as if their range were another one.

A file says how many bits a sample takes, not which values occur: cameras and scanners put 10, 12 or 14 bits into 16.
"""

from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.errors import ImageDecodeError

_Samples = NDArray[Any]
_WORD, _BYTE = 65_535, 255
_BITS = 8, 10, 12, 14, 16, 32
# Of a range, samples use at least a quarter, unless the image is dark.
_FEW_BITS = 14
_ADVICE, _IN_PYTHON = "give them: --value-range", " (value_range in Python)"


def to_eight_bits(samples: _Samples, mode: str, value_range: tuple[float, float] | None) -> NDArray[np.uint8]:
    """The samples of an image of Pillow's `mode`, I;16, I or F, as 8 bits.

    Without a range, I;16 has 16 bits; I has 8 if nothing is above 255, and 16 otherwise; F is 0..1 if nothing lies
    outside, and 0..255 otherwise. Raises ImageDecodeError for NaN and infinity.
    """
    if mode == "F" and not np.isfinite(samples).all():
        raise ImageDecodeError("the image contains NaN or infinite samples")
    if value_range is not None:
        return scaled(samples, value_range)
    if mode == "F":
        unit = samples.min(initial=0) >= 0 and samples.max(initial=0) <= 1
        return _clipped(np.rint(samples * _BYTE) if unit else samples)
    return _clipped(samples >> 8 if mode != "I" or samples.max(initial=0) > _BYTE else samples)


def scaled(samples: _Samples, value_range: tuple[float, float]) -> NDArray[np.uint8]:
    """Samples from black to white, `value_range`, as 0 to 255, rounded; what is outside is clipped."""
    black, white = value_range
    if samples.dtype == np.int32 and white > np.iinfo(np.int32).max:  # Pillow keeps 32 bits without a sign so
        samples = samples.view(np.uint32)
    return _clipped(np.rint((samples.astype(np.float64) - black) * (_BYTE / (white - black))))


def doubt(samples: _Samples, mode: str) -> str | None:
    """Why the range that `to_eight_bits` takes is hardly the right one; None if it may be."""
    low, high = float(samples.min(initial=0)), float(samples.max(initial=0))
    if mode == "F":
        return _doubt_floats(low, high)
    if low < 0 or high > _WORD:
        return _told(f"its 32-bit samples go from {low:,.0f} to {high:,.0f}, and are read as 16 bits", "0:4294967295")
    if high >= 1 << _FEW_BITS or high <= (_BYTE if mode == "I" else 0):
        return None
    return few_bits(int(high))


def few_bits(high: int) -> str | None:
    """The same for samples of 16 bits, of which `high` is the largest."""
    bits = next(bits for bits in _BITS if high < 1 << bits)
    if high == 0 or bits > _FEW_BITS:
        return None
    return _told(
        f"its 16-bit samples reach only {high:,} of {_WORD:,}, as those of {bits} bits do, so that it is read as dark",
        f"0:{(1 << bits) - 1}",
    )


def for_clients(warning: str) -> str:
    """A warning for those who send images to a server, and cannot say themselves what is black and white."""
    return warning.replace(_ADVICE, "the server's operator can set --value-range").replace(_IN_PYTHON, "")


def _doubt_floats(low: float, high: float) -> str | None:
    if low >= 0 and (high <= 1 or 2 < high <= _BYTE):
        return None
    if low < 0:
        likely = "-1:1" if low >= -1.01 and high <= 1.01 else f"{low:.4g}:{high:.4g}"
    elif high <= 2:
        likely = "0:1"
    else:
        likely = f"0:{next(((1 << bits) - 1 for bits in _BITS if high < 1 << bits), ceil(high))}"
    return _told(f"its samples go from {low:.6g} to {high:.6g}, and are read as 0..255", likely)


def _told(what: str, value_range: str) -> str:
    return f"{what}; if black and white are others, {_ADVICE} {value_range}{_IN_PYTHON}"


def _clipped(samples: _Samples) -> NDArray[np.uint8]:
    return samples.clip(0, _BYTE).astype(np.uint8)
