"""Whether two pictures show the same: the last digits of coordinates, and names made of them, differ by processor."""

import io
import re
from collections.abc import Collection
from itertools import zip_longest

import numpy as np
from PIL import Image

_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")
_NAME = re.compile(r'(?<=[#"])[A-Za-z]+[0-9a-f]{10}(?=[")])')
_PLACED = re.compile(r'<g id="text_\d+">\s*<!-- (\S+) -->.*?</g>\s*</g>', re.DOTALL)
_LEADER = re.compile(r'<g id="line2d_\d+">\s*<path [^>]*stroke-width: 0\.6[^>]*/>\s*</g>')
TOLERANCE = 0.1  # of a point, of which an inch has 72


def check_same_svg(drawn: bytes, wanted: bytes, *, placed: Collection[str] = ()) -> None:
    """Elements, texts and colours must be the same, and in the same order; numbers to the tolerance.

    `placed` are labels that must be there, wherever there was room for them: which place is the best for one, and so
    for the next, depends on the last digits too.
    """
    drawn_svg, labels = _without_placed(drawn.decode(), placed)
    wanted_svg, wanted_labels = _without_placed(wanted.decode(), placed)
    assert labels == wanted_labels
    (texts, numbers), (wanted_texts, wanted_numbers) = _split(drawn_svg), _split(wanted_svg)
    for text, other in zip_longest(texts, wanted_texts):
        assert text == other
    np.testing.assert_allclose(numbers, wanted_numbers, rtol=0, atol=TOLERANCE)


def check_same_png(drawn: bytes, wanted: bytes, *, mean: float = 0.1) -> None:
    """The sizes must be the same, and the pixels but for what smooths the edges: a difference of `mean`, of 255."""
    pixels, wanted_pixels = (
        np.asarray(Image.open(io.BytesIO(data)).convert("RGB"), dtype=np.int16) for data in (drawn, wanted)
    )
    assert pixels.shape == wanted_pixels.shape
    assert np.abs(pixels - wanted_pixels).mean() < mean


def _without_placed(svg: str, placed: Collection[str]) -> tuple[str, list[str]]:
    """The picture without these labels and the thin lines from them to what they belong to; and the labels."""
    if not placed:
        return svg, []
    labels = [found[1] for found in _PLACED.finditer(svg) if found[1] in placed]
    svg = _LEADER.sub("", _PLACED.sub(lambda found: "" if found[1] in placed else found[0], svg))
    return re.sub(r"\s+", " ", re.sub(r'id="[a-z0-9]+_\d+"', "", svg)), sorted(labels)


def _split(svg: str) -> tuple[list[str], list[float]]:
    """What stands between the numbers, and the numbers. Names made from their contents are numbered as they come."""
    names = list(dict.fromkeys(_NAME.findall(svg)))
    svg = _NAME.sub(lambda found: f"name-{names.index(found[0])}", svg)
    return _NUMBER.split(svg), [float(number) for number in _NUMBER.findall(svg)]
