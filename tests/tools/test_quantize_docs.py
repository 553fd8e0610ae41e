"""tools/quantize_docs.py: what docs/quantize.md says of real weights is what the committed figures say."""

import json

from tests.conftest import load_tool


def test_the_committed_page_is_filled_from_the_committed_figures() -> None:
    tool = load_tool("quantize_docs")
    page = tool.PAGE.read_text()
    assert page == tool.fill(page, tool.parts())


def test_the_figures_are_of_files_that_passed_and_pay() -> None:
    tool = load_tool("quantize_docs")
    for name in tool.NAMES:
        found = json.loads((tool.FIGURES / f"{name}.json").read_text())
        assert found["parity"]["passed"]
        assert found["reduction"]["pace"]["bytes"] < found["reduction"]["pace"]["float_bytes"]
