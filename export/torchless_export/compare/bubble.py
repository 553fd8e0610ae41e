"""All in one chart: error across, time upwards, the bubble's area the size of the file, its colour the family; and the Pareto front."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torchless_export.compare.bars import _WHERE, _sentence, message_chart
from torchless_export.compare.families import color_of
from torchless_export.compare.table import Comparison, Where
from torchless_export.compare.theme import Theme, entitle, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Text

# The area of the largest bubble, in points².
_LARGEST_AREA = 2400
# Times are on a logarithmic axis where the slowest model takes so many times as long as the quickest.
_WIDE = 8


@dataclass(frozen=True)
class Bubble:
    """A model as the chart shows it: percent, milliseconds, megabytes."""

    model: str
    family: str
    error: float
    time: float
    size: float


def bubbles(comparison: Comparison, where: Where) -> list[Bubble]:
    """The models with an error and a time, the largest first, so that the small ones lie on top."""
    found = [
        Bubble(row.model, row.family, row.errors.top1, speed.single.p50_ms, row.size_mb)
        for row in comparison.rows
        if row.errors is not None and (speed := row.speed(where)) is not None
    ]
    return sorted(found, key=lambda bubble: (-bubble.size, bubble.model))


def front(found: Sequence[Bubble]) -> list[Bubble]:
    """Those than which none is both quicker and less in error, the quickest first."""
    best: list[Bubble] = []
    for bubble in sorted(found, key=lambda bubble: (bubble.time, bubble.error)):
        if not best or bubble.error < best[-1].error:
            best.append(bubble)
    return best


def bubble_chart(comparison: Comparison, where: Where, theme: Theme) -> "Figure":
    """Labels are placed so that they cover neither each other nor a bubble, as far as there is room."""
    found = bubbles(comparison, where)
    if not found:
        return message_chart(
            theme, "Error, time and size", f"Nothing to draw: {comparison.errors_caption()}, or no times on the {_WHERE[where]}."
        )
    figure, axes = new_figure(11, 7.6)
    figure.subplots_adjust(left=0.07, right=0.83, top=0.885, bottom=0.12)
    _scale_axes(axes, found, _WHERE[where])
    _draw_front(axes, front(found), theme)
    scale = _LARGEST_AREA / max(bubble.size for bubble in found)
    scatter = axes.scatter(
        [bubble.error for bubble in found],
        [bubble.time for bubble in found],
        [scale * bubble.size for bubble in found],
        [color_of(bubble.family) for bubble in found],
        alpha=0.75,
        edgecolors=theme.paper,
        linewidths=0.8,
        zorder=3,
    )
    _legends(axes, found, scale, theme)
    subtitle = "towards the lower left is better; a bubble's area is the size of the file"
    entitle(
        figure,
        theme,
        f"Error, {_WHERE[where]} time and size",
        subtitle,
        f"{_sentence(comparison.errors_caption())} {_sentence(comparison.times_caption(where))}",
    )
    _label(axes, found, scatter, theme)
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
    room = 0.08 * (max(errors) - min(errors)) or 1
    axes.set_xlim(min(errors) - room, max(errors) + room)
    axes.set_xlabel("top-1 error, %")
    axes.set_ylabel(f"{device} milliseconds for one image{', logarithmic' if wide else ''}")
    axes.grid(zorder=0)
    axes.set_axisbelow(True)


def _draw_front(axes: "Axes", best: Sequence[Bubble], theme: Theme) -> None:
    errors, times = [bubble.error for bubble in best], [bubble.time for bubble in best]
    (left, right), (_, top) = axes.get_xlim(), axes.get_ylim()
    # Up from the most accurate, and to the right from the quickest: what lies beyond the line is beaten.
    xs, ys = [right, *errors, errors[-1]], [times[0], *times, top]
    axes.fill_between([*xs, left], [*ys, top], axes.get_ylim()[0], step="post", alpha=0)
    axes.step(xs, ys, where="post", color=theme.soft, linewidth=1.2, linestyle=(0, (4, 3)), zorder=2, label="Pareto front")


def _legends(axes: "Axes", found: Sequence[Bubble], scale: float, theme: Theme) -> None:
    from matplotlib.lines import Line2D

    def dot(area: float, color: str) -> Any:
        return Line2D([], [], linestyle="", marker="o", markersize=area**0.5, color=color, alpha=0.75, markeredgecolor=theme.paper)

    families = sorted({bubble.family for bubble in found})
    entries = [dot(50, color_of(name)) for name in families] + [Line2D([], [], color=theme.soft, linestyle=(0, (4, 3)))]
    first = axes.legend(
        entries, [*families, "Pareto front"], loc="upper left", bbox_to_anchor=(1.01, 1.01), frameon=False, fontsize=8.5, labelspacing=0.45
    )
    axes.add_artist(first)
    sizes = _round_sizes(max(bubble.size for bubble in found))
    axes.legend(
        [dot(scale * size, theme.soft) for size in sizes],
        [f"{size:g} MB" for size in sizes],
        loc="lower left",
        bbox_to_anchor=(1.01, -0.02),
        frameon=False,
        fontsize=8.5,
        labelspacing=1.3,
        handletextpad=1.4,
        borderpad=1.2,
    )


def _round_sizes(largest: float) -> list[float]:
    """Three round numbers up to `largest`."""
    steps = [factor * 10**power for power in range(-3, 6) for factor in (1, 2, 5)]
    return [max([step for step in steps if step <= share * largest] or steps[:1]) for share in (0.02, 0.2, 1)]


def _label(axes: "Axes", found: Sequence[Bubble], scatter: Any, theme: Theme) -> list["Text"]:
    import textalloc

    best = {bubble.model for bubble in front(found)}
    xs, ys = [bubble.error for bubble in found], [bubble.time for bubble in found]
    texts: list[Text]
    _, _, texts, _ = textalloc.allocate(
        axes,
        xs,
        ys,
        [bubble.model for bubble in found],
        x_scatter=xs,
        y_scatter=ys,
        scatter_plot=scatter,
        textsize=8,
        textcolor=[theme.ink if bubble.model in best else theme.soft for bubble in found],
        fontweight=["bold" if bubble.model in best else "normal" for bubble in found],
        linecolor=theme.soft,
        linewidth=0.5,
        avoid_label_lines_overlap=True,
        zorder=4,
    )
    return texts
