"""tools/parity_docs.py: what docs/parity.md copies is what the committed figures say."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import REPO, load_tool

from torchless_export.gate.limits import MAX_UNITS


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("parity_docs")


def figures(name: str) -> dict:
    return json.loads((REPO / "figures" / f"{name}.json").read_text())


def test_the_committed_page_is_filled_from_the_committed_figures(tool: ModuleType) -> None:
    parts = {
        "calibration": tool.calibration(figures("zoo"), figures("seeds")),
        "batching": tool.batching(figures("zoo")),
        "departure": tool.departure(figures("mutations")),
        "mutations": tool.mutation_table(figures("mutations")),
    }
    page = (REPO / "docs" / "parity.md").read_text()
    assert page == tool.fill(page, parts)


def test_the_worst_network_is_named_with_its_distance_from_the_limit(tool: ModuleType) -> None:
    worst, *others = tool.judged_by_units(figures("zoo"))
    assert worst["units"] == max(row["units"] for row in [worst, *others]) < MAX_UNITS
    text = tool.calibration(figures("zoo"), figures("seeds"))
    assert f"the worst {worst['units']:.2f}" in text
    assert worst["model"] in text


def test_the_committed_plot_is_drawn_from_the_committed_figures(tool: ModuleType, tmp_path: Path) -> None:
    tool.draw(figures("zoo"), tmp_path / "parity.svg")
    assert (tmp_path / "parity.svg").read_text() == (REPO / "docs" / "images" / "parity.svg").read_text()


def test_all_seeds_pass() -> None:
    runs = figures("seeds")["runs"]
    assert [run["seed"] for run in runs] == list(range(20))
    assert all(run["passed"] for run in runs)


def test_a_page_without_the_part_is_refused(tool: ModuleType) -> None:
    with pytest.raises(SystemExit, match="no part named calibration"):
        tool.fill("# Nothing here", {"calibration": "x"})
