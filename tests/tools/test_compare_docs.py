"""tools/compare_docs.py: docs/compare.md and the charts beside it are what figures/compare/comparison.json says."""

from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import REPO, load_tool

from torchless_export.compare import theme
from torchless_export.compare.compare import charts
from torchless_export.compare.comparison import Comparison
from torchless_export.compare.measurements import open_measurements
from torchless_export.compare.subjects import LATER, TUTORIAL
from torchless_export.compare.text import candidates


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("compare_docs")


@pytest.fixture(scope="module")
def comparison(tool: ModuleType) -> Comparison:
    return tool.read()


def test_the_committed_page_is_filled_from_the_committed_figures(tool: ModuleType, comparison: Comparison) -> None:
    page = tool.PAGE.read_text()
    assert page == tool.fill(page, tool.parts(comparison))
    assert {row.model for row in comparison.rows} == set(TUTORIAL + LATER)
    assert not comparison.failures


def test_the_committed_figures_are_those_of_the_committed_measurements(comparison: Comparison) -> None:
    runs = open_measurements(REPO / "figures" / "compare" / "measurements.json").runs.values()
    times = {run["of"]["model"]: sorted(ms for sample in run["rounds"] for ms in sample["single_ms"]) for run in runs}
    for row in comparison.rows:
        assert row.cpu.single.calls == len(times[row.model])
        assert times[row.model][0] <= row.cpu.single.p50_ms <= row.cpu.single.p95_ms <= times[row.model][-1]
        assert row.cpu.rounds == comparison.rounds


@pytest.mark.parametrize("name", ["errors", "size", "bubble-cpu"])
def test_the_committed_charts_are_drawn_from_the_committed_figures(comparison: Comparison, name: str) -> None:
    _, draw = charts(comparison)[name]
    with theme.style(theme.LIGHT):
        drawn = theme.file_of(draw(theme.LIGHT), "svg")
    assert drawn == (REPO / "docs" / "compare" / f"{name}.svg").read_bytes()
    assert Path(REPO / "docs" / "compare" / f"{name}.png").stat().st_size > 10_000


def test_the_first_weights_are_what_torchvision_publishes(tool: ModuleType, comparison: Comparison) -> None:
    _, choices = candidates(comparison)
    resnet50 = next(candidate for candidate in choices if candidate.name == "resnet50")
    assert tool._with_first_weights(resnet50).acc1 == 76.13
    assert resnet50.acc1 == pytest.approx(80.858)


def test_a_verdict_is_no_more_than_its_cases(tool: ModuleType) -> None:
    assert [tool._verdict(cases) for cases in ([True, True], [False, False], [True, False, True])] == ["holds", "no longer", "in 2 of 3 cases"]
