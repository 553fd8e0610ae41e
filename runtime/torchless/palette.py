"""The colours of pages and charts, on light and on dark paper."""

from dataclasses import asdict

from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Theme:
    """Colours as #rrggbb, by their use."""

    ink: str
    """text"""
    soft: str
    """less important text"""
    faint: str
    """points that matter less than others"""
    paper: str
    card: str
    """what lies on the paper"""
    line: str
    """borders"""
    grid: str
    """lines behind a chart"""
    accent: str
    """bars, points, links"""
    tint: str
    """a bar behind text"""
    good: str
    bad: str
    warm: str
    """what must stand apart from accent, good and bad"""


LIGHT = Theme(
    ink="#1d2430", soft="#5b6675", faint="#9aa7b8", paper="#ffffff", card="#f5f7fa", line="#d9dfe7", grid="#e3e8ee",
    accent="#2f6fb3", tint="#c9d8ec", good="#17733f", bad="#b3261e", warm="#e08a1e",
)  # fmt: skip
DARK = Theme(
    ink="#e5e9f0", soft="#a3adbb", faint="#6b7684", paper="#14181f", card="#1e242d", line="#364050", grid="#2b333f",
    accent="#7aa5e0", tint="#2c4468", good="#5fcf8d", bad="#ff8a80", warm="#f0b056",
)  # fmt: skip


def css() -> str:
    """The colours as variables of a style sheet, --ink and so on, light or dark as the visitor prefers."""
    light, dark = ("; ".join(f"--{name}: {color}" for name, color in asdict(theme).items()) for theme in (LIGHT, DARK))
    return (
        f":root {{ color-scheme: light dark; {light} }}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}\n"
    )
