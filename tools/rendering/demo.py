"""The README's picture: the demo's photos, each with the five most probable classes, as `infer` answered.

For wide and for narrow windows, on light and on dark paper. The photos are scikit-image's.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rendering import Row
from torchless.palette import DARK, LIGHT, Theme

_PANEL, _PHOTO, _TEXT, _GAP = (920, 250), (300, 220), 26, 15
# Twice a phone's pixels, one photo below the other.
_NARROW, _NARROW_PHOTO, _NARROW_TEXT = (720, 300), (250, 250), 27


def pictures() -> dict[str, Callable[[Row], bytes]]:
    """By their paths, the functions that draw them from figures/demo.json."""
    return {
        f"docs/images/demo{'-phone' * narrow}{'-dark' * (theme is DARK)}.png": partial(draw, theme=theme, narrow=narrow)
        for narrow in (False, True)
        for theme in (LIGHT, DARK)
    }


def draw(found: Row, *, theme: Theme, narrow: bool) -> bytes:
    """A PNG file."""
    panels = [(_narrow_panel if narrow else _panel)(row, theme) for row in found["rows"]]
    columns, (width, height) = 1 if narrow else 2, panels[0].size
    canvas = Image.new("RGB", (columns * width, -(-len(panels) // columns) * height), theme.paper)
    for number, panel in enumerate(panels):
        canvas.paste(panel, (number % columns * width, number // columns * height))
    file = io.BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def _panel(row: Row, theme: Theme) -> Image.Image:
    """The photo on the left; beside it a line for each class: bar, percent, label."""
    canvas = Image.new("RGB", _PANEL, theme.paper)
    _paste_photo(canvas, row, _PHOTO)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    left, width = _PHOTO[0] + 3 * _GAP, 170
    for number, prediction in enumerate(row["predictions"]):
        top = 18 + 44 * number
        _bar(pen, (left, top + 4, left + width, top + 30), prediction["probability"], theme)
        percent = f"{prediction['probability']:.1%}".replace("%", " %")
        pen.text((left + width + 115, top), percent, fill=theme.ink, font=font, anchor="ra")
        pen.text((left + width + 135, top), prediction["label"], fill=theme.ink, font=font)
    return canvas


def _narrow_panel(row: Row, theme: Theme) -> Image.Image:
    """The photo on the left; beside it label and percent of each class, above its bar."""
    canvas = Image.new("RGB", _NARROW, theme.paper)
    _paste_photo(canvas, row, _NARROW_PHOTO)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_NARROW_TEXT)
    left, right = _NARROW_PHOTO[0] + 3 * _GAP, _NARROW[0] - _GAP
    for number, prediction in enumerate(row["predictions"]):
        top = 20 + 53 * number
        percent = f"{prediction['probability']:.1%}".replace("%", " %")
        pen.text((left, top), prediction["label"], fill=theme.ink, font=font)
        pen.text((right, top), percent, fill=theme.ink, font=font, anchor="ra")
        _bar(pen, (left, top + 35, right, top + 44), prediction["probability"], theme)
    return canvas


def _paste_photo(canvas: Image.Image, row: Row, size: tuple[int, int]) -> None:
    import skimage

    with Image.open(Path(skimage.__file__).parent / "data" / row["image"]) as photo:
        small = photo.convert("RGB")
        small.thumbnail(size, Image.Resampling.LANCZOS)
    canvas.paste(small, (_GAP + (size[0] - small.width) // 2, (canvas.height - small.height) // 2))


def _bar(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], share: float, theme: Theme) -> None:
    left, top, right, bottom = box
    pen.rounded_rectangle(box, 4, fill=theme.grid)
    filled = round((right - left) * share)
    if filled > 2:
        pen.rounded_rectangle((left, top, left + filled, bottom), min(4, filled // 2), fill=theme.accent)
