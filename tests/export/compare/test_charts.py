"""The charts: what they show is where it belongs, nothing covers anything, and what was not measured is not drawn."""

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure
from matplotlib.text import Text

from torchless.palette import DARK, LIGHT
from torchless_export.compare import theme
from torchless_export.compare.bars import errors_chart, size_chart, time_chart
from torchless_export.compare.bubble import bubble_chart, bubbles, front
from torchless_export.compare.comparison import Comparison, Errors
from torchless_export.compare.placement import bubble_boxes, covered

Make = Callable[..., Comparison]


@pytest.fixture(autouse=True)
def _light() -> Any:
    with theme.style(LIGHT):
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
    with theme.style(LIGHT):
        return bubble_chart(make_comparison(), "cpu", LIGHT)


def test_no_label_covers_a_label_or_a_bubble(make_comparison: Make, bubble_figure: Figure) -> None:
    comparison, figure = make_comparison(), bubble_figure
    axes, names = figure.axes[0], {row.model for row in comparison.rows}
    labels = [text for text in axes.texts if text.get_text() in names]
    assert {text.get_text() for text in labels} == names
    (scatter,) = axes.findobj(PathCollection)
    assert covered([text.get_window_extent() for text in labels], bubble_boxes(axes, scatter)) == 0
    inside = axes.get_window_extent()
    assert all(inside.contains(*corner) for text in labels for corner in text.get_window_extent().corners())


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
    assert "GPU times measured on a GPU" in figure.texts[-1].get_text()
    assert "GPU milliseconds" in bubble_chart(comparison, "gpu", LIGHT).axes[0].get_ylabel()


def test_without_a_gpu_its_chart_says_so_and_has_no_bar(make_comparison: Make) -> None:
    figure = time_chart(make_comparison(), "gpu", LIGHT)
    assert not figure.axes[0].patches
    assert any("No times on the GPU: no NVIDIA driver is installed." in text.get_text() for text in figure.texts)


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
    assert [list(line.get_xdata()) for line in figure.axes[0].lines] == [[18, 22], [4, 6]]
    assert (
        figure.texts[-1].get_text()
        == "Errors measured on val: 100 images; 2 more could not be read; with 95 % intervals."
    )


def test_without_errors_no_bar_and_no_bubble(make_comparison: Make) -> None:
    comparison = make_comparison(("resnet18",))
    comparison = replace(comparison, rows=(replace(comparison.rows[0], errors=None, no_errors="own weights"),))
    for figure in (errors_chart(comparison, LIGHT), bubble_chart(comparison, "cpu", LIGHT)):
        assert not figure.axes[0].patches
        assert any("No errors are known." in text.get_text() for text in figure.texts)


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
    first, second = (theme.file_of(size_chart(make_comparison(), LIGHT), "svg") for _ in range(2))
    assert first == second


def test_a_model_may_be_called_anything(make_comparison: Make) -> None:
    comparison = make_comparison(("resnet18", "resnet50"))
    named = replace(comparison.rows[0], model=r"$\frac{$")
    comparison = replace(comparison, rows=(named, *comparison.rows[1:]))
    for figure in (bubble_chart(comparison, "cpu", LIGHT), time_chart(comparison, "cpu", LIGHT)):
        assert any(r"$\frac{$" in text.get_text() for text in texts_of(figure))
