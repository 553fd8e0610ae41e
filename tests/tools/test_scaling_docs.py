"""tools/scaling_docs.py: what the page reckons follows from what the committed files measured."""

from types import ModuleType

import pytest
from tests.conftest import REPO, load_tool


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("scaling_docs")


def test_the_committed_page_is_filled_from_the_committed_figures(tool: ModuleType) -> None:
    page = (REPO / "docs" / "scaling.md").read_text()
    assert page == tool.fill(page, tool.parts(*tool.load(), tool.DOLLARS_A_PROCESSOR_HOUR))


def test_the_price_is_a_parameter(tool: ModuleType) -> None:
    found = [tool.parts(*tool.load(), price) for price in (0.05, 0.1)]
    assert tool.processor_hours(images_per_second=1000, processors=36) == pytest.approx(10)
    assert tool._cost_line("a", "b", 1000, 36, 0.1)[-2:] == ["10.00", "$1.000"]
    assert found[0]["ray"] == found[1]["ray"]
    assert found[0]["costs"] != found[1]["costs"]


def test_what_was_measured_is_what_the_issue_asked_for(tool: ModuleType) -> None:
    """One and two workers beside the local pipeline; and a million names, over which the memory stays flat."""
    _, ray = tool.load()
    for model in ray["throughput"]:
        assert [row["case"] for row in model["found"]] == ["local, 1 worker", "local, 2 workers", "Ray, 1 worker", "Ray, 2 workers"]
    samples = ray["names"]["found"]
    assert ray["names"]["names"] == 1_000_000
    assert samples[-1]["resident_bytes"] < 1.05 * samples[0]["resident_bytes"]
