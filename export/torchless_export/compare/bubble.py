"""Everything in one chart: error across, time upwards, a bubble's area for the file's size, its colour for the family;
and the Pareto front.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchless.charts import entitle, new_figure
from torchless.palette import Theme
from torchless_export.compare.comparison import Comparison, Where
from torchless_export.compare.families import color_of
from torchless_export.compare.placement import Name, place_names

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.offsetbox import HPacker

# The area of the largest bubble, in points².
_LARGEST_AREA = 1500
# Times are on a logarithmic axis if the slowest model takes this many times as long as the fastest.
_WIDE = 8
_ALPHA = 0.75
_LEGEND_WIDTH = 40  # of what is drawn in it, in points: the largest bubble has 39
_DASHES = (0, (4, 3))


@dataclass(frozen=True)
class Bubble:
    """A model as the chart shows it: percent, milliseconds, megabytes."""

    model: str
    family: str
    error: float
    time: float
    size: float


def bubbles(comparison: Comparison, where: Where) -> list[Bubble]:
    """The models with an error and a time, the largest first, so that small ones are drawn on top."""
    found = [
        Bubble(row.model, row.family, row.errors.top1, speed.single.p50_ms, row.size_mb)
        for row in comparison.rows
        if row.errors is not None and (speed := row.speed(where)) is not None
    ]
    return sorted(found, key=lambda bubble: (-bubble.size, bubble.model))


def front(found: Sequence[Bubble]) -> list[Bubble]:
    """Those that no other one beats in both time and error, the fastest first."""
    best: list[Bubble] = []
    for bubble in sorted(found, key=lambda bubble: (bubble.time, bubble.error)):
        if not best or bubble.error < best[-1].error:
            best.append(bubble)
    return best


def bubble_chart(comparison: Comparison, where: Where, theme: Theme) -> "Figure":
    """Of at least one bubble. Where there is room, the names cover neither each other nor a bubble."""
    found = bubbles(comparison, where)
    title, caption = (
        f"Error, {where.upper()} time and size",
        f"{comparison.errors_caption()} {comparison.times_caption(where)}",
    )
    figure, axes = new_figure(12, 8)
    figure.subplots_adjust(left=0.07, right=0.83, top=0.885, bottom=0.12)
    _scale_axes(axes, found, where.upper())
    line = _draw_front(axes, front(found), theme)
    scale = _LARGEST_AREA / found[0].size
    scatter = axes.scatter(
        [bubble.error for bubble in found],
        [bubble.time for bubble in found],
        [scale * bubble.size for bubble in found],
        [color_of(bubble.family) for bubble in found],
        alpha=_ALPHA,
        edgecolors=theme.paper,
        linewidths=0.8,
        zorder=3,
    )
    _legend(axes, found, scale, theme)
    entitle(
        figure,
        theme,
        title,
        "towards the lower left is better; no model is both quicker and less in error than one in bold, on the "
        "Pareto front",
        caption,
    )
    best = {bubble.model for bubble in front(found)}
    names = [
        Name(b.model, b.error, b.time, theme.ink if b.model in best else theme.soft, b.model in best) for b in found
    ]
    place_names(axes, names, scatter, line, line_color=theme.soft)
    return figure


def _scale_axes(axes: "Axes", found: Sequence[Bubble], device: str) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter, ScalarFormatter

    times, errors = [bubble.time for bubble in found], [bubble.error for bubble in found]
    wide = max(times) / min(times) >= _WIDE
    if wide:
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter(ScalarFormatter())
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.set_ylim(min(times) / 1.5, max(times) * 1.7)
    else:
        room = 0.15 * (max(times) - min(times)) or max(times)
        axes.set_ylim(max(0, min(times) - room), max(times) + room)
    room = 0.1 * (max(errors) - min(errors)) or 1
    axes.set_xlim(min(errors) - 1.9 * room, max(errors) + room)  # room for names left of the front
    axes.set_xlabel("top-1 error, %")
    axes.set_ylabel(f"{device} milliseconds for one image{', logarithmic' if wide else ''}")
    axes.grid(zorder=0)
    axes.set_axisbelow(True)


def _draw_front(axes: "Axes", best: Sequence[Bubble], theme: Theme) -> "Line2D":
    """From the top down to the most accurate, and from the fastest on to the right: what is beyond the line is
    beaten.
    """
    xs = [axes.get_xlim()[1], *(bubble.error for bubble in best), best[-1].error]
    ys = [best[0].time, *(bubble.time for bubble in best), axes.get_ylim()[1]]
    (line,) = axes.step(xs, ys, where="post", color=theme.soft, linewidth=1.2, linestyle=_DASHES, zorder=2)
    return line


def _legend(axes: "Axes", found: Sequence[Bubble], scale: float, theme: Theme) -> None:
    """Colours, the front and sizes in one column beside the chart; the units of its circles are points."""
    from matplotlib.lines import Line2D
    from matplotlib.offsetbox import AnchoredOffsetbox, TextArea, VPacker
    from matplotlib.patches import Circle

    half, height = _LEGEND_WIDTH / 2, 7.0
    rows: list[Any] = [
        _entry(Circle((half, height / 2), 3.5, color=color_of(name), linewidth=0, alpha=_ALPHA), name, height, theme)
        for name in sorted({bubble.family for bubble in found}, key=str.lower)
    ]
    line = Line2D([0, 2 * half], [height / 2] * 2, color=theme.soft, linestyle=_DASHES, linewidth=1.2)
    rows += [_entry(line, "Pareto front", height, theme), TextArea("size of the file", textprops=_text(theme.soft))]
    for size in _round_sizes(found[0].size):
        radius = (scale * size) ** 0.5 / 2
        circle = Circle((half, radius + 0.5), radius, facecolor="none", edgecolor=theme.soft, linewidth=0.9)
        rows.append(_entry(circle, f"{size:g} MB", 2 * radius + 1, theme))
    column = VPacker(children=rows, pad=0, sep=4.5)
    axes.add_artist(
        AnchoredOffsetbox(
            "upper left", child=column, pad=0, borderpad=0, frameon=False, bbox_to_anchor=(1.015, 1),
            bbox_transform=axes.transAxes,
        )
    )  # fmt: skip


def _entry(drawn: "Artist", name: str, height: float, theme: Theme) -> "HPacker":
    """What is drawn in an area of that height, and its name."""
    from matplotlib.offsetbox import DrawingArea, HPacker, TextArea

    area = DrawingArea(_LEGEND_WIDTH, height)
    area.add_artist(drawn)
    return HPacker(children=[area, TextArea(name, textprops=_text(theme.ink))], pad=0, sep=5, align="center")


def _text(color: str) -> dict[str, Any]:
    return {"fontsize": 8.5, "color": color}


def _round_sizes(largest: float) -> list[float]:
    """Three round numbers up to `largest`."""
    steps = [factor * 10**power for power in range(-3, 6) for factor in (1, 2, 5)]
    return [max([step for step in steps if step <= share * largest] or steps[:1]) for share in (0.04, 0.3, 1)]
