"""The charts that show one thing of every model: errors, CPU time, GPU time, size."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchless.charts import entitle, new_figure
from torchless.palette import Theme
from torchless_export.compare.comparison import Comparison, Errors, Row, Where
from torchless_export.compare.families import color_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_ROW_INCHES, _MARGIN_INCHES = 0.24, 1.7
_BAR = 0.72  # of a row


def errors_chart(comparison: Comparison, theme: Theme) -> "Figure":
    """Top-1 and top-5 error, the least first. Lines are 95 % intervals where errors were measured: of top-1 along the
    bar's lower edge, of top-5 along the upper one.
    """
    known = sorted(
        ((row, row.errors) for row in comparison.rows if row.errors is not None),
        key=lambda pair: (pair[1].top1, pair[0].model),
    )
    figure, axes = _bars_figure([row for row, _ in known])
    several = len({errors.of for _, errors in known}) > 1
    for place, (row, errors) in enumerate(known):
        axes.barh(place, errors.top1, height=_BAR, color=color_of(row.family), alpha=0.45)
        axes.barh(place, errors.top5 or 0, height=_BAR, color=color_of(row.family))
        _intervals(axes, place, errors, theme)
        top5 = f"  ({errors.top5:.1f})" if errors.top5 is not None else ""
        _value(
            axes,
            errors.top1,
            place,
            f"{errors.top1:.1f}{top5}{f'  {errors.of}' if several else ''}",
            theme,
        )
    longest = max(max((1.35 if several else 1.15) * errors.top1, errors.top1_high or 0) for _, errors in known)
    axes.set_xlim(0, longest)
    axes.set_xlabel("error, %")
    subtitle = "top-1, and top-5 as the strong part of the bar and in brackets; less is better"
    if any(errors.top1_low is not None for _, errors in known):
        subtitle = f"{subtitle.partition(';')[0]}; lines: 95 % intervals, top-5's above"
    entitle(figure, theme, "Error", subtitle, comparison.errors_caption())
    return figure


def time_chart(comparison: Comparison, where: Where, theme: Theme) -> "Figure":
    """Milliseconds for one image, the fastest first; the line below each bar ends at the 95th percentile."""
    title = f"{where.upper()} time"
    known = [(row, speed) for row in comparison.rows if (speed := row.speed(where)) is not None]
    known.sort(key=lambda pair: (pair[1].single.p50_ms, pair[0].model))
    figure, axes = _bars_figure([row for row, _ in known])
    for place, (row, speed) in enumerate(known):
        single = speed.single
        axes.barh(place, single.p50_ms, height=_BAR, color=color_of(row.family))
        _whisker(axes, place, single.p50_ms, single.p95_ms, theme.soft)
        _value(axes, single.p50_ms, place, _milliseconds(single.p50_ms), theme)
    axes.set_xlim(0, max(max(1.08 * speed.single.p50_ms, 1.02 * speed.single.p95_ms) for _, speed in known))
    axes.set_xlabel("milliseconds for one image")
    subtitle = "a forward pass of one image: the median, and as a line below it the 95th percentile; less is better"
    entitle(figure, theme, title, subtitle, comparison.times_caption(where))
    return figure


def size_chart(comparison: Comparison, theme: Theme) -> "Figure":
    """Megabytes of the file, the smallest first."""
    rows = sorted(comparison.rows, key=lambda row: (row.size_bytes, row.model))
    figure, axes = _bars_figure(rows)
    for place, row in enumerate(rows):
        axes.barh(place, row.size_mb, height=_BAR, color=color_of(row.family))
        _value(axes, row.size_mb, place, f"{row.size_mb:.1f}" if row.size_mb < 100 else f"{row.size_mb:.0f}", theme)
    axes.set_xlim(0, 1.08 * max(row.size_mb for row in rows))
    axes.set_xlabel("MB (10⁶ bytes)")
    entitle(
        figure, theme, "Size", "of the .onnx file, all in; less is better", "Measured: the sizes of the files compared."
    )
    return figure


def _bars_figure(rows: Sequence[Row]) -> tuple["Figure", "Axes"]:
    height = _MARGIN_INCHES + _ROW_INCHES * len(rows)
    figure, axes = new_figure(9, height)
    figure.subplots_adjust(left=0.2, right=0.98, top=1 - 0.85 / height, bottom=0.85 / height)
    axes.set_yticks(range(len(rows)), [row.model for row in rows])
    axes.set_ylim(len(rows) - 0.4, -0.6)  # the first on top
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    return figure, axes


def _intervals(axes: "Axes", place: int, errors: Errors, theme: Theme) -> None:
    for low, high, above in ((errors.top1_low, errors.top1_high, False), (errors.top5_low, errors.top5_high, True)):
        if low is not None and high is not None:
            _whisker(axes, place, low, high, theme.ink, above=above)


def _whisker(axes: "Axes", place: int, low: float, high: float, color: str, *, above: bool = False) -> None:
    """Along an edge of the bar, where it leaves room for the value at the bar's end."""
    edge = place + (_BAR / 2 - 0.03) * (-1 if above else 1)
    axes.plot([low, high], [edge, edge], color=color, linewidth=1.3, solid_capstyle="butt")


def _value(axes: "Axes", x: float, place: int, text: str, theme: Theme) -> None:
    axes.annotate(
        text, (x, place), xytext=(4, 0), textcoords="offset points", va="center", fontsize=7.5, color=theme.soft
    )


def _milliseconds(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}"
