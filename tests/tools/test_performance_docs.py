"""tools/performance_docs.py: what the docs say of speed is what the committed figures say."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import REPO, load_tool


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("performance_docs")


@pytest.fixture(scope="module")
def results() -> dict:
    return json.loads((REPO / "figures" / "bench.json").read_text())


def test_the_committed_pages_are_filled_from_the_committed_figures(tool: ModuleType, results: dict) -> None:
    for name, parts in tool.parts(results).items():
        page = (REPO / "docs" / name).read_text()
        assert page == tool.fill(page, parts)


def test_the_committed_plot_is_drawn_from_the_committed_figures(tool: ModuleType, results: dict, tmp_path: Path) -> None:
    tool.draw(results["forward"]["found"], tmp_path / "performance.svg")
    assert (tmp_path / "performance.svg").read_text() == (REPO / "docs" / "images" / "performance.svg").read_text()


def test_every_model_and_peer_of_the_issue_was_measured(tool: ModuleType, results: dict) -> None:
    rows = results["forward"]["found"]
    assert len(tool.by_model(rows)) == 12
    assert {row["peer"] for row in rows} == set(tool.NAMES) - {"torchless_fast"}
    assert all(row["calls"] >= 45 and row["least_ms"] <= row["p50_ms"] <= row["most_ms"] for row in rows)


def test_the_means_are_geometric(tool: ModuleType) -> None:
    assert tool.geometric_mean([1, 4]) == pytest.approx(2)
    rows = [{"model": "a", "peer": peer, "p50_ms": ms} for peer, ms in (("pytorch", 6), ("torchless", 2))]
    assert tool.ratios(rows, "pytorch") == {"a": 3}
