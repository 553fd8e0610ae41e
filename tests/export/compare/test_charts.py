"""The charts: what they show is where it belongs, nothing covers anything, and what was not measured is not drawn."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnchoredOffsetbox
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from tests.conftest import REPO

from torchless.charts import file_of, style
from torchless.palette import DARK, LIGHT
from torchless_export.compare.bars import errors_chart, size_chart, time_chart
from torchless_export.compare.bubble import bubble_chart, bubbles, front
from torchless_export.compare.compare import CHARTS, charts
from torchless_export.compare.comparison import Comparison, Errors
from torchless_export.compare.placement import LEADER, corners

Make = Callable[..., Comparison]


@dataclass
class Placed:
    """A bubble chart in pixels: points along lines, boxes of names by their texts."""

    centres: np.ndarray
    radii: np.ndarray
    names: dict[str, Bbox]
    leaders: list[np.ndarray]
    front: np.ndarray
    chart: Bbox


@pytest.fixture(autouse=True)
def _light() -> Any:
    with style(LIGHT):
        yield


def texts_of(figure: Figure) -> list[Text]:
    """All that is drawn: without the labels of ticks beyond the ends of an axis."""
    figure.draw_without_rendering()
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            hidden |= {
                tick.label1
                for tick in axis.get_major_ticks() + axis.get_minor_ticks()
                if not low <= tick.get_loc() <= high
            }
    return [text for text in figure.findobj(Text) if text.get_text() and text not in hidden and text.get_visible()]


@pytest.fixture(scope="module")
def bubble_figure(make_comparison: Make) -> Figure:
    with style(LIGHT):
        return bubble_chart(make_comparison(), "cpu", LIGHT)


def inside(figure: Figure) -> Placed:
    """Where the bubbles, the names, the lines from names to bubbles and the front are, in pixels."""
    figure.draw_without_rendering()
    axes = figure.axes[0]
    (scatter,) = axes.findobj(PathCollection)
    lines = {line.get_gid(): [] for line in axes.lines}
    for line in axes.lines:
        front = line.get_gid() is None
        steps = corners(axes, line) if front else [axes.transData.transform(np.transpose(line.get_data()))]
        lines[line.get_gid()] += [start + np.linspace(0, 1, 400)[:, None] * (end - start) for start, end in steps]
    return Placed(
        centres=axes.transData.transform(scatter.get_offsets()),
        radii=np.sqrt(scatter.get_sizes()) / 2 * figure.dpi / 72,
        names={text.get_text(): text.get_window_extent() for text in axes.texts},
        leaders=lines.get(LEADER, []),
        front=np.concatenate(lines[None]),
        chart=axes.get_window_extent(),
    )


@pytest.fixture(scope="module", params=["measured", 0, 1])
def placed(request: pytest.FixtureRequest, make_comparison: Make, bubble_figure: Figure) -> Placed:
    """The chart of the committed figures, and of others: 35 models each."""
    if request.param == 0:
        return inside(bubble_figure)
    figures = REPO / "figures" / "compare" / "comparison.json"
    measured = Comparison.from_dict(json.loads(figures.read_text()))
    with style(LIGHT):
        return inside(bubble_chart(measured if request.param == "measured" else make_comparison(seed=1), "cpu", LIGHT))


def test_no_name_covers_a_name_a_bubble_or_the_front(placed: Placed) -> None:
    assert len(placed.names) == len(placed.centres) == 35
    for name, box in placed.names.items():
        nearest = np.clip(placed.centres, (box.x0, box.y0), (box.x1, box.y1))
        assert (np.hypot(*(nearest - placed.centres).T) >= placed.radii).all(), name
        assert not any(box.overlaps(other) for others, other in placed.names.items() if others != name), name
        assert not box_has(box, placed.front).any(), name
        assert all(placed.chart.contains(*corner) for corner in box.corners()), name


def test_no_line_runs_through_a_bubble_or_a_name(placed: Placed) -> None:
    assert placed.leaders
    for line in placed.leaders:
        depths = placed.radii - np.hypot(*np.moveaxis(line[:, None] - placed.centres, -1, 0))
        (own,) = np.flatnonzero(np.abs(depths[0]) < 0.01)  # it starts at the edge of its bubble
        assert np.delete(depths, own, axis=1).max() < 0.5
        assert not any(box_has(box, line).any() for box in placed.names.values())


def test_no_line_runs_along_the_front_or_crosses_another(placed: Placed) -> None:
    for line in placed.leaders:
        away = np.hypot(*np.moveaxis(line[:, None] - placed.front[None, ::4], -1, 0)).min(axis=1)
        assert (away < 4).mean() < 0.5
    for line, other in combinations(placed.leaders, 2):
        assert np.hypot(*np.moveaxis(line[:, None] - other, -1, 0)).min() > 1


def box_has(box: Bbox, points: np.ndarray) -> np.ndarray:
    return (points >= (box.x0, box.y0)).all(axis=1) & (points <= (box.x1, box.y1)).all(axis=1)


def test_one_legend_has_colours_sizes_and_the_front(make_comparison: Make, bubble_figure: Figure) -> None:
    (axes,) = bubble_figure.axes
    (legend,) = axes.findobj(AnchoredOffsetbox)
    entries = [text.get_text() for text in legend.findobj(Text)]
    assert entries[-5:-3] == ["Pareto front", "size of the file"]
    assert set(entries[:-5]) == {row.family for row in make_comparison().rows}
    assert entries[-3:] == ["20 MB", "100 MB", "500 MB"]
    (scatter,) = axes.findobj(PathCollection)
    area = scatter.get_sizes()[0] / max(row.size_mb for row in make_comparison().rows)
    circles = [2 * circle.get_radius() for circle in legend.findobj(Circle)][-3:]
    assert circles == pytest.approx([(area * size) ** 0.5 for size in (20, 100, 500)])


def test_bubbles_are_where_their_figures_are_and_their_area_is_the_size(
    make_comparison: Make, bubble_figure: Figure
) -> None:
    comparison = make_comparison()
    (scatter,) = bubble_figure.axes[0].findobj(PathCollection)
    rows = sorted(comparison.rows, key=lambda row: (-row.size_bytes, row.model))
    assert np.allclose(scatter.get_offsets(), [(row.errors.top1, row.cpu.single.p50_ms) for row in rows])
    assert np.ptp(scatter.get_sizes() / [row.size_bytes for row in rows]) < 1e-9
    assert len({tuple(color) for color in scatter.get_facecolors()}) == len({row.family for row in rows}) == 17


@pytest.mark.parametrize("seed", range(5))
def test_the_front(make_comparison: Make, seed: int) -> None:
    found = bubbles(make_comparison(seed=seed), "cpu")
    best = front(found)
    for bubble in found:
        beaten = any(b.error <= bubble.error and b.time <= bubble.time and b != bubble for b in found)
        assert (bubble in best) != beaten


def test_times_far_apart_are_on_a_logarithmic_axis(make_comparison: Make, bubble_figure: Figure) -> None:
    assert bubble_figure.axes[0].get_yscale() == "log"
    assert bubble_chart(make_comparison(("resnet50", "resnet101")), "cpu", LIGHT).axes[0].get_yscale() == "linear"


def test_the_gpu_has_charts_of_its_own_where_it_was_measured(make_comparison: Make) -> None:
    comparison = make_comparison(("resnet18", "resnet50"), gpu=True)
    figure = time_chart(comparison, "gpu", LIGHT)
    assert sorted(bar.get_width() for bar in figure.axes[0].patches) == sorted(
        row.gpu.single.p50_ms for row in comparison.rows
    )
    assert "GPU times measured on 2026-11-25 on a processor, " in figure.texts[-1].get_text()
    assert "GPU milliseconds" in bubble_chart(comparison, "gpu", LIGHT).axes[0].get_ylabel()


def test_what_was_not_measured_has_no_chart(make_comparison: Make) -> None:
    both = make_comparison(("resnet18", "resnet50"), gpu=True)
    assert [*charts(both)] == [*CHARTS]
    without_gpu = make_comparison(("resnet18", "resnet50"))
    assert [*charts(without_gpu)] == ["bubble-cpu", "errors", "cpu-time", "size"]
    assert [*charts(replace(both, rows=tuple(replace(row, cpu=None) for row in both.rows)))] == [
        "bubble-gpu", "errors", "gpu-time", "size",
    ]  # fmt: skip
    unknown = replace(both, rows=tuple(replace(row, errors=None) for row in both.rows))
    assert [*charts(unknown)] == ["cpu-time", "gpu-time", "size"]


def test_values_stand_at_the_bars_and_nothing_runs_through_them(make_comparison: Make) -> None:
    comparison = make_comparison()
    rows = []
    for row in comparison.rows:
        low, high = row.errors.top1 - 3, row.errors.top1 + 3
        intervals = {"top1_low": low, "top1_high": high, "top5_low": 0.0, "top5_high": 1.2 * high}
        errors = replace(row.errors, source="measured", of="val", images=100, **intervals)
        rows.append(replace(row, errors=errors))
    measured = replace(comparison, rows=tuple(rows))
    for figure in (time_chart(comparison, "cpu", LIGHT), errors_chart(measured, LIGHT)):
        figure.draw_without_rendering()
        (axes,) = figure.axes
        bars = [bar.get_window_extent() for bar in axes.patches]
        for text in axes.texts:
            box = text.get_window_extent()
            middle = (box.y0 + box.y1) / 2
            end = max(bar.x1 for bar in bars if bar.y0 < middle < bar.y1)
            assert 0 < box.x0 - end < 15
            for line in axes.lines:
                whisker = axes.transData.transform(np.transpose(line.get_data()))
                assert not (box.x0 < whisker[1, 0] and box.x1 > whisker[0, 0] and box.y0 < whisker[0, 1] < box.y1)


def test_bars_of_errors_the_least_first_with_the_weights_they_are_of(make_comparison: Make) -> None:
    comparison = make_comparison(("alexnet", "resnet50"))
    figure = errors_chart(comparison, LIGHT)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["resnet50", "alexnet"]
    assert [round(bar.get_width(), 3) for bar in axes.patches] == [
        19.142,
        4.566,
        43.478,
        20.934,
    ]  # torchvision's table of weights
    assert [text.get_text() for text in axes.texts] == ["19.1  (4.6)  IMAGENET1K_V2", "43.5  (20.9)  IMAGENET1K_V1"]
    assert figure.texts[-1].get_text() == "Errors published by torchvision for IMAGENET1K_V1 or IMAGENET1K_V2."


def test_measured_errors_have_their_intervals(make_comparison: Make) -> None:
    measured = Errors(
        source="measured",
        of="val",
        top1=20,
        top5=5,
        top1_low=18,
        top1_high=22,
        top5_low=4,
        top5_high=6,
        images=100,
        unreadable=2,
    )
    comparison = make_comparison(("resnet50",))
    figure = errors_chart(replace(comparison, rows=(replace(comparison.rows[0], errors=measured),)), LIGHT)
    top1, top5 = figure.axes[0].lines
    assert [list(line.get_xdata()) for line in (top1, top5)] == [[18, 22], [4, 6]]
    assert top5.get_ydata()[0] < 0 < top1.get_ydata()[0]  # the axis points down: above the bar's middle, and below
    assert figure.texts[1].get_text().endswith("; lines: 95 % intervals, top-5's above")
    assert (
        figure.texts[-1].get_text()
        == "Errors measured on val: 100 images; 2 more could not be read; with 95 % intervals."
    )


def test_all_text_is_inside_the_picture_and_apart(make_comparison: Make, bubble_figure: Figure) -> None:
    comparison = make_comparison()
    row, errors = comparison.rows[0], replace(comparison.rows[0].errors, of=f"/a/folder/{'with a long name/' * 12}")
    long = replace(comparison, rows=(replace(row, errors=errors), replace(comparison.rows[1], errors=errors)))
    bars = [errors_chart(comparison, DARK), size_chart(comparison, DARK), time_chart(comparison, "cpu", DARK)]
    for figure in (*bars, errors_chart(long, DARK), bubble_chart(long, "cpu", DARK), bubble_figure):
        texts = {text: text.get_window_extent() for text in texts_of(figure)}
        assert len(texts) > 10
        assert [
            t.get_text()
            for t, box in texts.items()
            if not all(figure.bbox.contains(*corner) for corner in box.corners())
        ] == []
        assert [(a.get_text(), b.get_text()) for a, b in combinations(texts, 2) if texts[a].overlaps(texts[b])] == []


def test_the_same_figures_give_the_same_file(make_comparison: Make) -> None:
    first, second = (file_of(size_chart(make_comparison(), LIGHT), "svg") for _ in range(2))
    assert first == second


def test_a_model_may_be_called_anything(make_comparison: Make) -> None:
    comparison = make_comparison(("resnet18", "resnet50"))
    named = replace(comparison.rows[0], model=r"$\frac{$")
    comparison = replace(comparison, rows=(named, *comparison.rows[1:]))
    for figure in (bubble_chart(comparison, "cpu", LIGHT), time_chart(comparison, "cpu", LIGHT)):
        assert any(r"$\frac{$" in text.get_text() for text in texts_of(figure))
