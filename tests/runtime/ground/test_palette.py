"""The palette: what a page is told of it, and that text can be read on all that it lies on."""

import re
from dataclasses import asdict
from itertools import product

import pytest

from torchless.palette import DARK, LIGHT, Theme, css


def luminance(color: str) -> float:
    """Of #rrggbb, by WCAG 2.2."""
    shares = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("theme", [LIGHT, DARK], ids=["light", "dark"])
def test_text_has_the_contrast_that_wcag_asks_for(theme: Theme) -> None:
    pairs = [
        *product((theme.ink, theme.soft, theme.accent, theme.good, theme.bad), (theme.paper, theme.card)),
        (theme.ink, theme.tint),
    ]
    for text, ground in pairs:
        darker, lighter = sorted((luminance(text), luminance(ground)))
        assert (lighter + 0.05) / (darker + 0.05) >= 4.5, (text, ground)


def test_a_page_has_every_colour_for_light_and_for_dark() -> None:
    light, dark = css().split("@media (prefers-color-scheme: dark)")
    for text, theme in ((light, LIGHT), (dark, DARK)):
        assert dict(re.findall(r"--(\w+): (#[0-9a-f]{6})\b", text)) == asdict(theme)
