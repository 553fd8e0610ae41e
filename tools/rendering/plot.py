"""Plots without a display, as SVG: the same figures give the same file."""

from typing import TYPE_CHECKING

from torchless.charts import file_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def new_plot(width: float, height: float) -> tuple["Figure", "Axes"]:
    """An empty figure of that many inches, with axes that are open above and to the right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def svg_of(figure: "Figure") -> bytes:
    """The figure as the bytes of a file."""
    import matplotlib as mpl

    with mpl.rc_context({"svg.hashsalt": "torchless"}):
        return file_of(figure, "svg")
