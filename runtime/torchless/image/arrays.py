"""Images that are numpy arrays. What is not one is refused, with the expression that makes one of it: an array taken
for what it is not would get an answer all the same.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from torchless.errors import ImageDecodeError

_CHANNELS = (1, 3, 4)


def from_array(array: NDArray[np.uint8]) -> Image.Image:
    """A Pillow image of a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises ImageDecodeError for any other; for numbers from 0 to 1, channels first or a batch it says what to give.
    """
    if array.dtype != np.uint8 or not _is_shape(array.shape):
        raise ImageDecodeError(
            f"an image array must be uint8 (H, W) or (H, W, 1, 3 or 4) with values 0..255, not {array.dtype} "
            f"{array.shape}{_advice(array)}"
        )
    return Image.fromarray(array[:, :, 0] if array.ndim == 3 and array.shape[2] == 1 else array)


def _is_shape(shape: tuple[int, ...]) -> bool:
    return 0 not in shape and (len(shape) == 2 or (len(shape) == 3 and shape[2] in _CHANNELS))


def _advice(array: NDArray[np.generic]) -> str:
    if array.size == 0:
        return ", which is empty"
    if array.ndim == 4:
        return ": classify_many and logits take a batch; one image of it is array[0]"
    channels_first = array.ndim == 3 and not _is_shape(array.shape) and array.shape[0] in _CHANNELS
    if not channels_first and not _is_shape(array.shape):
        return ""
    pixels = _pixels(array)
    return f"{pixels}.transpose(1, 2, 0)" if pixels and channels_first else pixels


def _pixels(array: NDArray[np.generic]) -> str:
    """What makes 0..255 in uint8 of its values."""
    kind = array.dtype.kind
    if array.dtype == np.uint8:
        return ": give array"
    if kind == "b":
        return ": give (array * 255).astype('uint8')"
    if kind not in "fiu":
        return ""
    low, high = array.min(), array.max()
    values = f" from {low:g} to {high:g}"
    if low >= 0 and high <= (1 if kind == "f" else 255):
        return f"{values}: give {'(array * 255).round()' if kind == 'f' else 'array'}.astype('uint8')"
    if kind == "f" and low >= 0 and high <= 255:
        return f"{values}: give array.round().astype('uint8')"
    if array.dtype == np.uint16:
        return f"{values}: give (array >> 8).astype('uint8')"
    return f"{values}: give the image itself; Classifier.run takes what is normalised already"
