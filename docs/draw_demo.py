"""Draws the README's picture from what `infer` really answers.

make picture        (runs infer on the demo's photos and draws docs/images/demo.png)
"""

import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from torchless.palette import LIGHT

PANEL, THUMBNAIL, ROW, GAP = (920, 250), (300, 220), 40, 15


def panel(row: dict) -> Image.Image:
    """One photo with its five predictions as bars."""
    canvas = Image.new("RGB", PANEL, LIGHT.paper)
    draw = ImageDraw.Draw(canvas)
    with Image.open(row["image"]) as photo:
        small = photo.convert("RGB")
        small.thumbnail(THUMBNAIL, Image.Resampling.LANCZOS)
    canvas.paste(small, (GAP + (THUMBNAIL[0] - small.width) // 2, (PANEL[1] - small.height) // 2))
    for number, prediction in enumerate(row["predictions"]):
        left, top, width = THUMBNAIL[0] + 3 * GAP, 25 + number * ROW, 230
        draw.rounded_rectangle((left, top, left + width, top + 26), 5, fill=LIGHT.grid)
        filled = round(width * prediction["probability"])
        if filled > 2:
            draw.rounded_rectangle((left, top, left + filled, top + 26), min(5, filled // 2), fill=LIGHT.accent)
        draw.text(
            (left + width + 15, top + 1),
            f"{prediction['probability'] * 100:5.1f} %",
            fill=LIGHT.ink,
            font=ImageFont.load_default(20),
        )
        draw.text((left + width + 110, top + 1), prediction["label"], fill=LIGHT.ink, font=ImageFont.load_default(20))
    return canvas


def main() -> None:
    """Reads JSON Lines from standard input; the one argument is the PNG file to write."""
    panels = [panel(json.loads(line)) for line in sys.stdin]
    canvas = Image.new("RGB", (PANEL[0] * 2, PANEL[1] * -(-len(panels) // 2)), LIGHT.paper)
    for number, image in enumerate(panels):
        canvas.paste(image, (number % 2 * PANEL[0], number // 2 * PANEL[1]))
    canvas.save(Path(sys.argv[1]), optimize=True)


if __name__ == "__main__":
    main()
