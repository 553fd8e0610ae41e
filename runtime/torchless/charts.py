"""How charts look, on white and on black, and how they become PNG and SVG files. matplotlib without pyplot: no global
state, no display.
"""

import io
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from torchless.errors import extra
from torchless.palette import Theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Format = Literal["png", "svg", "pdf"]

_DPI = 160
_CAPTION_CHARACTERS_AN_INCH, _SUBTITLE_CHARACTERS_AN_INCH = 15, 12


@contextmanager
def style(theme: Theme) -> Iterator[None]:
    """matplotlib's settings while a figure is made and written. Raises MissingDependencyError without matplotlib."""
    with extra("compare", "a chart"):
        import matplotlib as mpl
        import matplotlib.figure
    settings: Any = {
        "text.color": theme.ink,
        "axes.labelcolor": theme.soft,
        "axes.edgecolor": theme.soft,
        "axes.facecolor": theme.paper,
        "figure.facecolor": theme.paper,
        "xtick.color": theme.soft,
        "ytick.color": theme.soft,
        "grid.color": theme.grid,
        "font.size": 9,
        "text.parse_math": False,  # a model may be called anything
        "axes.spines.top": False,
        "axes.spines.right": False,
        "svg.hashsalt": "torchless",  # the same figures give the same file
    }
    with mpl.rc_context(settings):
        yield


def new_figure(width: float, height: float) -> tuple["Figure", "Axes"]:
    """An empty figure of that many inches, with room for a heading above and a caption below."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI)
    return figure, figure.add_subplot()


def entitle(figure: "Figure", theme: Theme, title: str, subtitle: str, caption: str) -> None:
    """The heading in the top left corner, and where the figures come from in the bottom left corner."""
    width, height = figure.get_size_inches()
    caption = "\n".join(textwrap.wrap(caption, int(_CAPTION_CHARACTERS_AN_INCH * width)))
    subtitle = "\n".join(textwrap.wrap(subtitle, int(_SUBTITLE_CHARACTERS_AN_INCH * width)))
    texts: tuple[tuple[float, str, dict[str, Any]], ...] = (
        (1 - 0.18 / height, title, {"fontsize": 15, "fontweight": "bold", "va": "top"}),
        (1 - 0.5 / height, subtitle, {"fontsize": 9.5, "color": theme.soft, "va": "top"}),
        (0.12 / height, caption, {"fontsize": 7.5, "color": theme.soft, "va": "bottom"}),
    )
    for y, text, settings in texts:
        figure.text(0.02, y, text, parse_math=False, **settings)


def file_of(figure: "Figure", kind: Format) -> bytes:
    """The picture as the bytes of a file."""
    buffer = io.BytesIO()
    undated = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
    figure.savefig(buffer, format=kind, dpi=_DPI, metadata=undated[kind])
    return buffer.getvalue()
