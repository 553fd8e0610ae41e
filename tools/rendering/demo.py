"""The README's picture: the demo's photos, each with the most probable classes of each network, as `infer` answered.

For wide and for narrow windows, on light and on dark paper. The photos are scikit-image's.
"""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from rendering import Row
from torchless.palette import DARK, LIGHT, Theme

_SHOWN = 2  # of a network's classes
_PANEL, _PHOTO, _TEXT, _GAP = (920, 270), (300, 230), 25, 15
# Twice a phone's pixels, one photo below the other.
_NARROW, _NARROW_PHOTO, _NARROW_TEXT = (720, 310), (250, 260), 26
_NAME_TEXT = 21  # of a network's name

Answers = list[tuple[str, Row]]
"""Each network's name with its row for one photo."""


def pictures() -> dict[str, Callable[[Row], bytes]]:
    """By their paths, the functions that draw them from figures/demo.json."""
    return {
        f"docs/images/demo{'-phone' * narrow}{'-dark' * (theme is DARK)}.png": partial(draw, theme=theme, narrow=narrow)
        for narrow in (False, True)
        for theme in (LIGHT, DARK)
    }


def draw(found: Row, *, theme: Theme, narrow: bool) -> bytes:
    """A PNG file."""
    rows = zip(*([(one["model"], row) for row in one["rows"]] for one in found["models"]), strict=True)
    panels = [(_narrow_panel if narrow else _panel)([*answers], theme) for answers in rows]
    columns, (width, height) = 1 if narrow else 2, panels[0].size
    canvas = Image.new("RGB", (columns * width, -(-len(panels) // columns) * height), theme.paper)
    for number, panel in enumerate(panels):
        canvas.paste(panel, (number % columns * width, number // columns * height))
    file = io.BytesIO()
    canvas.save(file, "PNG", optimize=True)
    return file.getvalue()


def _panel(answers: Answers, theme: Theme) -> Image.Image:
    """The photo on the left; beside it for each network its name, and a line for each class: bar, percent, label."""
    canvas = Image.new("RGB", _PANEL, theme.paper)
    _paste_photo(canvas, answers[0][1], _PHOTO)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_TEXT)
    left, width = _PHOTO[0] + 3 * _GAP, 170
    for number, (model, row) in enumerate(answers):
        top = 10 + 128 * number
        pen.text((left, top), model, fill=theme.soft, font=ImageFont.load_default(_NAME_TEXT))
        for place, prediction in enumerate(row["predictions"][:_SHOWN]):
            line = top + 34 + 40 * place
            _bar(pen, (left, line + 4, left + width, line + 28), prediction["probability"], theme)
            pen.text((left + width + 115, line), _percent(prediction), fill=theme.ink, font=font, anchor="ra")
            pen.text((left + width + 135, line), prediction["label"], fill=theme.ink, font=font)
    return canvas


def _narrow_panel(answers: Answers, theme: Theme) -> Image.Image:
    """The photo on the left; beside it for each network its name, and label and percent of each class above its bar."""
    canvas = Image.new("RGB", _NARROW, theme.paper)
    _paste_photo(canvas, answers[0][1], _NARROW_PHOTO)
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_NARROW_TEXT)
    left, right = _NARROW_PHOTO[0] + 3 * _GAP, _NARROW[0] - _GAP
    for number, (model, row) in enumerate(answers):
        top = 12 + 150 * number
        pen.text((left, top), model, fill=theme.soft, font=ImageFont.load_default(_NAME_TEXT))
        for place, prediction in enumerate(row["predictions"][:_SHOWN]):
            line = top + 32 + 52 * place
            pen.text((left, line), prediction["label"], fill=theme.ink, font=font)
            pen.text((right, line), _percent(prediction), fill=theme.ink, font=font, anchor="ra")
            _bar(pen, (left, line + 34, right, line + 43), prediction["probability"], theme)
    return canvas


def _percent(prediction: Row) -> str:
    return f"{prediction['probability']:.1%}".replace("%", " %")


def _paste_photo(canvas: Image.Image, row: Row, size: tuple[int, int]) -> None:
    with Image.open(Path(__file__).parents[2] / row["image"]) as photo:
        small = photo.convert("RGB")
        small.thumbnail(size, Image.Resampling.LANCZOS)
    canvas.paste(small, (_GAP + (size[0] - small.width) // 2, (canvas.height - small.height) // 2))


def _bar(pen: ImageDraw.ImageDraw, box: tuple[int, int, int, int], share: float, theme: Theme) -> None:
    left, top, right, bottom = box
    pen.rounded_rectangle(box, 4, fill=theme.grid)
    filled = round((right - left) * share)
    if filled > 2:
        pen.rounded_rectangle((left, top, left + filled, bottom), min(4, filled // 2), fill=theme.accent)
