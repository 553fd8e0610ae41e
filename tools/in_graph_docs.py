"""Fills in what docs/in-graph.md copies from figures/in_graph.json: python tools/in_graph_docs.py."""

import json
from pathlib import Path
from typing import Any

from pages import fill, table

REPO = Path(__file__).parents[1]
PAGE = REPO / "docs" / "in-graph.md"


def read() -> dict[str, Any]:
    """The committed figures."""
    figures: dict[str, Any] = json.loads((REPO / "figures" / "in_graph.json").read_text(encoding="utf-8"))
    return figures


def parts(figures: dict[str, Any]) -> dict[str, str]:
    """What the page copies, by the name of the part."""
    heading = (f"to {figures['crop_size']} pixels of {figures['resize_size']}", "in the graph", "Pillow")
    rows = [(f"{row['width']}×{row['height']}", f"{row['graph_ms']:.1f} ms", f"{row['pillow_ms']:.1f} ms") for row in figures["rows"]]
    return {"in-graph": table(heading, rows)}


def main() -> None:
    """Writes the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), parts(read())), encoding="utf-8")


if __name__ == "__main__":
    main()
