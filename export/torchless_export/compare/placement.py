"""The models' names beside the bubbles of a chart, each with a thin line to its bubble where it stands off.

Where there is room, no name covers a name, a bubble or the front, and no line runs through another bubble or a name, or
along the front or across it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from torchless_export.compare.geometry import Array, box_circle_gap, boxes_apart, crossings, in_circle, segment_in_box

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

LEADER = "leader"  # the gid of the lines from names to bubbles
_FONT_SIZE = 8
# In points: how far names may stand off, at how many angles, and how much room each keeps around it.
_GAPS = (2, 5, 9, 14, 20, 28, 38, 50, 65, 85, 110)
_ANGLES, _MARGIN = 40, 1.5
_SHORTEST_LEADER = 4
# Of each name this many places are weighed against those of the others, from so many beginnings.
_KEPT, _STARTS, _SWEEPS = 40, 24, 12
# What is wrong with a place, the worst first; a line across the front is better than a name on it.
_OUTSIDE, _COVERS, _CROSSES, _ACROSS = 1e6, 100.0, 60.0, 12.0
_FAR, _ASKEW = 0.12, 0.3  # for each point of distance; for standing neither beside nor above
_BESIDE = 3  # points from the front

Integers = NDArray[np.int_]


@dataclass(frozen=True)
class Name:
    """Text that belongs to the bubble at (x, y), in the units of the axes."""

    text: str
    x: float
    y: float
    color: str
    bold: bool


@dataclass(frozen=True)
class _Chart:
    """What names must keep off, in pixels: the bubbles, the segments of the front, and the chart's own edge. `point` is
    how many pixels a point has.
    """

    centres: Array
    radii: Array
    front: Array
    inside: Array
    point: float


@dataclass(frozen=True)
class _Places:
    """Where one name could stand, in pixels: `boxes` (n, 4) as x0, y0, x1, y1; `lines` (n, 2, 2) from the bubble's edge
    to the name; `costs` (n,) of what they cover by themselves.
    """

    boxes: Array
    lines: Array
    costs: Array

    def best(self, count: int) -> "_Places":
        order = np.argsort(self.costs, kind="stable")[:count]
        return _Places(self.boxes[order], self.lines[order], self.costs[order])


def place_names(
    axes: "Axes", names: Sequence[Name], scatter: "PathCollection", front: "Line2D", *, line_color: str
) -> list["Text"]:
    """Draws them, in the order of `names`, which is that of the bubbles in `scatter`."""
    point = _dpi(axes) / 72
    chart = _Chart(
        centres=axes.transData.transform(np.column_stack([[name.x for name in names], [name.y for name in names]])),
        radii=np.sqrt(scatter.get_sizes()) / 2 * point,
        front=corners(axes, front),
        inside=np.array(axes.get_window_extent().extents),
        point=point,
    )
    texts = [_draw_text(axes, name) for name in names]
    sizes = [(box.width, box.height) for box in (text.get_window_extent() for text in texts)]
    places = [_places(number, size, chart).best(_KEPT) for number, size in enumerate(sizes)]
    for text, place, number in zip(texts, places, _arrange(places, point), strict=True):
        x0, y0, x1, y1 = place.boxes[number]
        x, y = axes.transData.inverted().transform(((x0 + x1) / 2, (y0 + y1) / 2))
        text.set_position((float(x), float(y)))
        _draw_leader(axes, place.lines[number], point, line_color)
    return texts


def _draw_text(axes: "Axes", name: Name) -> "Text":
    weight = "bold" if name.bold else "normal"
    return axes.text(
        name.x, name.y, name.text, fontsize=_FONT_SIZE, color=name.color, fontweight=weight, ha="center",
        va="center", zorder=5,
    )  # fmt: skip


def _draw_leader(axes: "Axes", line: Array, point: float, color: str) -> None:
    """Unless it would be so short that the name is seen to belong to its bubble without it."""
    length = np.hypot(*(line[1] - line[0]))
    if length >= _SHORTEST_LEADER * point:
        short = line[0] + (line[1] - line[0]) * (1 - point / length)  # apart from the name
        ends = axes.transData.inverted().transform([line[0], short])
        axes.plot(*ends.T, color=color, linewidth=0.6, zorder=4, gid=LEADER, solid_capstyle="butt")


def _places(number: int, size: tuple[float, float], chart: _Chart) -> _Places:
    """All places of one name, at several angles and distances from its bubble."""
    angles, gaps = np.meshgrid(2 * np.pi * np.arange(_ANGLES) / _ANGLES, np.array(_GAPS) * chart.point, indexing="ij")
    towards = np.column_stack([np.cos(angles).ravel(), np.sin(angles).ravel()])
    edges = chart.centres[number] + chart.radii[number] * towards
    ends = edges + gaps.reshape(-1, 1) * towards
    half = np.array(size) / 2
    middles = ends + half * np.clip(1.6 * towards, -1, 1)
    boxes, lines = np.hstack([middles - half, middles + half]), np.stack([edges, ends], axis=1)
    near = _FAR * gaps / chart.point + _ASKEW * np.abs(np.sin(2 * angles))
    return _Places(boxes, lines, near.ravel() + _cost_of_boxes(boxes, chart) + _cost_of_lines(lines, number, chart))


def _cost_of_boxes(boxes: Array, chart: _Chart) -> Array:
    """Bubbles and the front must not be covered, and nothing may stand out of the chart."""
    room = _MARGIN * chart.point
    wide = boxes + room * np.array([-1, -1, 1, 1])
    outside = (wide[:, :2] < chart.inside[:2]).any(axis=1) | (wide[:, 2:] > chart.inside[2:]).any(axis=1)
    covered = (box_circle_gap(boxes, chart.centres, chart.radii) < room).sum(axis=1)
    return np.asarray(_COVERS * (covered + segment_in_box(chart.front, wide).any(axis=1)) + _OUTSIDE * outside)


def _cost_of_lines(lines: Array, number: int, chart: _Chart) -> Array:
    """They must keep off all bubbles but their own, and not run along the front."""
    others = np.arange(len(chart.radii)) != number
    inside = in_circle(lines, chart.centres[others], chart.radii[others] + _MARGIN * chart.point / 2)
    through = _CROSSES * (inside > 0).sum(axis=1) + inside.sum(axis=1) / chart.point
    return np.asarray(through + _ACROSS * crossings(lines, chart.front).any(axis=1) + _CROSSES * _along(lines, chart))


def _along(lines: Array, chart: _Chart) -> Array:
    """Whether more than half of a line is so near to the front that it would be taken for a part of it."""
    shares = np.linspace(0, 1, 9)[:, None, None]
    points = lines[:, 0] + shares * (lines[:, 1] - lines[:, 0])  # (9, n, 2)
    low, high = chart.front.min(axis=1), chart.front.max(axis=1)
    away = np.maximum(np.maximum(low - points[:, :, None], points[:, :, None] - high), 0)
    near = (np.hypot(away[..., 0], away[..., 1]).min(axis=2) < _BESIDE * chart.point).mean(axis=0) > 0.5
    return np.asarray(near & (np.hypot(*(lines[:, 1] - lines[:, 0]).T) >= _SHORTEST_LEADER * chart.point))


def _arrange(places: Sequence[_Places], point: float) -> list[int]:
    """The place of each name: from many beginnings, each name in turn goes to where it covers least."""
    starts = np.cumsum([0, *(len(place.costs) for place in places)])
    alone = np.concatenate([place.costs for place in places])
    together = _together(places, point)
    random, found = np.random.default_rng(0), []
    for number in range(_STARTS):
        first = [0 if number == 0 else random.integers(len(place.costs)) for place in places]
        chosen = _settle(starts[:-1] + first, starts, alone, together, random)
        both = together[np.ix_(chosen, chosen)]
        found.append((alone[chosen].sum() + np.triu(both, 1).sum(), [int(place) for place in chosen - starts[:-1]]))
    return min(found)[1]


def _together(places: Sequence[_Places], point: float) -> NDArray[np.float32]:
    """What each two places of any names cost beside each other."""
    boxes, lines = np.concatenate([place.boxes for place in places]), np.concatenate([place.lines for place in places])
    inside = segment_in_box(lines, boxes)
    crossed = _CROSSES * (crossings(lines, lines) + inside + inside.T)
    return (crossed + _COVERS * ~boxes_apart(boxes, _MARGIN * point)).astype(np.float32)


def _settle(
    chosen: Integers, starts: Integers, alone: Array, together: NDArray[np.float32], random: np.random.Generator
) -> Integers:
    """Until no name gains by going elsewhere."""
    for _ in range(_SWEEPS):
        before = chosen.copy()
        for number in random.permutation(len(chosen)):
            own = slice(starts[number], starts[number + 1])
            beside = together[own][:, np.delete(chosen, number)].sum(axis=1)
            chosen[number] = starts[number] + np.argmin(alone[own] + beside)
        if (chosen == before).all():
            break
    return chosen


def _dpi(axes: "Axes") -> float:
    figure = axes.get_figure(root=True)
    return figure.dpi if figure is not None else 72


def corners(axes: "Axes", front: "Line2D") -> Array:
    """The segments (n, 2, 2), in pixels, of a line that was drawn with step(where="post")."""
    xs, ys = np.asarray(front.get_xdata()), np.asarray(front.get_ydata())
    corners: Any = np.column_stack([np.repeat(xs, 2)[1:], np.repeat(ys, 2)[:-1]])
    pixels = axes.transData.transform(corners)
    return np.stack([pixels[:-1], pixels[1:]], axis=1)
