"""Whether two pictures show the same. The last digits of a coordinate, and so the names made from them, differ between processors."""

import io
import re
from itertools import zip_longest

import numpy as np
from PIL import Image

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_NAME = re.compile(r'(?<=[#"])[A-Za-z]+[0-9a-f]{10}(?=[")])')
TOLERANCE = 0.1  # of a point, of which an inch has 72


def check_same_svg(drawn: bytes, wanted: bytes) -> None:
    """Elements, texts and colours must be the same, and in the same order; numbers to the tolerance."""
    (texts, numbers), (wanted_texts, wanted_numbers) = _split(drawn.decode()), _split(wanted.decode())
    for text, other in zip_longest(texts, wanted_texts):
        assert text == other
    np.testing.assert_allclose(numbers, wanted_numbers, rtol=0, atol=TOLERANCE)


def check_same_png(drawn: bytes, wanted: bytes) -> None:
    """The sizes must be the same, and the pixels but for what smooths the edges."""
    pixels, wanted_pixels = (np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int16) for data in (drawn, wanted))
    assert pixels.shape == wanted_pixels.shape
    assert np.abs(pixels - wanted_pixels).mean() < 0.1


def _split(svg: str) -> tuple[list[str], list[float]]:
    """What stands between the numbers, and the numbers. Names made from what they name are numbered in the order of their first place."""
    names = list(dict.fromkeys(_NAME.findall(svg)))
    svg = _NAME.sub(lambda found: f"name-{names.index(found[0])}", svg)
    return _NUMBER.split(svg), [float(number) for number in _NUMBER.findall(svg)]
