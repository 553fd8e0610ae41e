"""docs/in-graph.md: preprocessing in the graph beside Pillow's."""

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured


def times(figures: Row) -> str:
    """Milliseconds by size of the photo."""
    heading = (f"to {figures['crop_size']} pixels of {figures['resize_size']}", "in the graph", "Pillow")
    rows = [
        (f"{row['width']}×{row['height']}", f"{row['graph_ms']:.1f} ms", f"{row['pillow_ms']:.1f} ms")
        for row in figures["rows"]
    ]
    return f"{table(heading, rows)}\n\n{measured(figures)}"
