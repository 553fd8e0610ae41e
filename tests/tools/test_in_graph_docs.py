"""tools/in_graph_docs.py: docs/in-graph.md shows what figures/in_graph.json says."""

from tests.conftest import load_tool


def test_the_committed_page_is_filled_from_the_committed_figures() -> None:
    tool = load_tool("in_graph_docs")
    page = tool.PAGE.read_text()
    assert page == tool.fill(page, tool.parts(tool.read()))
