"""The models' names beside the bubbles of a chart: where there is room they cover neither each other nor a bubble nor
the line.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

_FONT_SIZE = 8
# Names are placed one after the other. Orders are tried until _GOOD of them cover nothing, or _TRIES were tried; the
# one that covers least, and lies nearest, is kept.
_GOOD, _TRIES = 4, 16


@dataclass(frozen=True)
class Name:
    """Text that belongs to the bubble at (x, y), in the units of the axes."""

    text: str
    x: float
    y: float
    color: str
    bold: bool


def place_names(
    axes: "Axes", names: Sequence[Name], scatter: "PathCollection", line: "Line2D", *, line_color: str
) -> list["Text"]:
    """Draws them, in the order of `names`, which is that of the bubbles in `scatter`; away from `line` too."""
    tries: list[_Attempt] = []
    while len(tries) < _TRIES and sum(attempt.cost[0] == 0 for attempt in tries) < _GOOD:
        tries.append(_allocate(axes, names, scatter, line, line_color, seed=len(tries)))
    best = min(tries, key=lambda attempt: attempt.cost)
    for attempt in tries:
        if attempt is not best:
            attempt.remove()
    _shorten(axes, best.lines, scatter)
    return best.texts


@dataclass(frozen=True)
class _Attempt:
    texts: list["Text"]
    lines: list["Line2D | None"]
    cost: tuple[int, float]

    def remove(self) -> None:
        for artist in [*self.texts, *self.lines]:
            if artist is not None:
                artist.remove()


def _allocate(
    axes: "Axes", names: Sequence[Name], scatter: "PathCollection", line: "Line2D", line_color: str, seed: int
) -> _Attempt:
    import textalloc

    xs, ys = [name.x for name in names], [name.y for name in names]
    line_xs, line_ys = _corners(line)
    texts: list[Text]
    lines: list[Line2D | None]
    _, _, texts, lines = textalloc.allocate(  # type: ignore[assignment]
        axes,
        xs,
        ys,
        [name.text for name in names],
        x_scatter=xs,
        y_scatter=ys,
        scatter_plot=scatter,
        x_lines=[line_xs],
        y_lines=[line_ys],
        textsize=_FONT_SIZE,
        textcolor=[name.color for name in names],
        fontweight=["bold" if name.bold else "normal" for name in names],
        linecolor=line_color,
        linewidth=0.6,
        margin=0.004,
        min_distance=0.01,
        max_distance=0.25,
        nbr_candidates=600,
        avoid_label_lines_overlap=True,
        priority_strategy=seed,
        zorder=4,
    )
    boxes = [text.get_window_extent() for text in texts]
    centres = axes.transData.transform(np.column_stack([xs, ys]))
    distance = sum(_distance(box, centre) ** 1.5 for box, centre in zip(boxes, centres, strict=True))
    crossed = sum(line.get_path().transformed(axes.transData).intersects_bbox(box, filled=False) for box in boxes)
    return _Attempt(texts, lines, (covered(boxes, bubble_boxes(axes, scatter)) + crossed, float(distance)))


def covered(texts: Sequence["Bbox"], bubbles: Sequence["Bbox"]) -> int:
    """How many pairs of texts, and of a text and a bubble, overlap."""
    pairs = sum(bool(a.overlaps(b)) for i, a in enumerate(texts) for b in texts[i + 1 :])
    return pairs + sum(bool(text.overlaps(bubble)) for text in texts for bubble in bubbles)


def bubble_boxes(axes: "Axes", scatter: "PathCollection") -> list["Bbox"]:
    """The squares in the bubbles, in pixels: a name may come near where a circle bends away from its corners."""
    from matplotlib.transforms import Bbox

    centres = axes.transData.transform(scatter.get_offsets())
    return [
        Bbox.from_extents(*(centre - 0.71 * radius), *(centre + 0.71 * radius))
        for centre, radius in zip(centres, _radii(axes, scatter), strict=True)
    ]


def _radii(axes: "Axes", scatter: "PathCollection") -> Any:
    """Of the bubbles, in pixels."""
    return np.sqrt(scatter.get_sizes()) / 2 * _dpi(axes) / 72


def _dpi(axes: "Axes") -> float:
    figure = axes.get_figure(root=True)
    return figure.dpi if figure is not None else 72


def _corners(line: "Line2D") -> tuple[list[float], list[float]]:
    """The corners of a line that was drawn with step(where="post")."""
    xs, ys = np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()
    return [x for pair in zip(xs, [*xs[1:], xs[-1]], strict=True) for x in pair], [y for y in ys for _ in range(2)]


def _distance(box: "Bbox", centre: Any) -> float:
    """From the middle of a bubble to the nearest point of a text, in pixels."""
    x, y = centre
    return float(np.hypot(max(box.x0 - x, 0, x - box.x1), max(box.y0 - y, 0, y - box.y1)))


def _shorten(axes: "Axes", lines: Sequence["Line2D | None"], scatter: "PathCollection") -> None:
    """From a name to the edge of its bubble, not to its middle."""
    for line, radius in zip(lines, _radii(axes, scatter), strict=True):
        if line is None:
            continue
        start, end = axes.transData.transform(np.column_stack([line.get_xdata(), line.get_ydata()]))
        length = float(np.hypot(*(end - start)))
        keep = (length - radius) / length if length else 0
        if keep * length < 3:
            line.remove()
        else:
            line.set_data(*axes.transData.inverted().transform([start, start + keep * (end - start)]).T)
