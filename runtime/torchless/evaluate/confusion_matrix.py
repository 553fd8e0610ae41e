"""The picture of a confusion matrix. Needs the extra `compare` (matplotlib)."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.charts import Format, entitle, file_of, new_figure, style
from torchless.errors import UsageError
from torchless.evaluate.dataset import Dataset
from torchless.evaluate.tally import ClassFigures, Confusion, Evaluation
from torchless.files import atomic_path
from torchless.palette import LIGHT

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

MAX_CLASSES = 50
_FORMATS: dict[str, Format] = {".png": "png", ".svg": "svg", ".pdf": "pdf"}
_OTHER, _NUMBERED, _LABEL_LENGTH = "any other", 30, 24


def check_picture(path: Path, dataset: Dataset) -> None:
    """Raises UsageError or MissingDependencyError before any work is done, if the picture cannot be drawn to that file
    or on this machine.
    """
    if path.suffix.lower() not in _FORMATS:
        raise UsageError(f"cannot draw {path}: a picture ends in {', '.join(_FORMATS)}")
    if not os.path.isdir(path.parent):
        raise UsageError(f"cannot draw {path}: there is no folder {path.parent}")
    classes = len({example.target for example in dataset})
    if classes > MAX_CLASSES:
        raise UsageError(
            f"a confusion matrix is drawn for at most {MAX_CLASSES} classes, {dataset.source} has {classes}; "
            f"`json` has the confusions"
        )
    with style(LIGHT):
        pass


def draw_confusion_matrix(evaluation: Evaluation, path: Path, title: str) -> None:
    """A row for each class that has images and a column for each predicted class: numbers of images, darker for a
    larger share.

    Classes without images share the last column, if any image was assigned to them. Raises UsageError if the file
    cannot be written.
    """
    with atomic_path(path) as temporary:
        picture = confusion_picture(evaluation.classes, evaluation.confusions, title, _FORMATS[path.suffix.lower()])
        temporary.write_bytes(picture)


def confusion_picture(
    classes: Sequence[ClassFigures], confusions: Sequence[Confusion], title: str, kind: Format
) -> bytes:
    """The same as the bytes of a file of that format."""
    rows, names = _matrix(classes, confusions), [_short(row.label) for row in classes]
    columns = names + [_OTHER] * (len(rows[0]) - len(rows))
    images, wrong = sum(row.images for row in classes), sum(pair.images for pair in confusions)
    with style(LIGHT), warnings.catch_warnings():
        # about letters that the font lacks: they become boxes in the picture
        warnings.simplefilter("ignore", UserWarning)
        return file_of(_draw(rows, names, columns, title, f"{images:,} images, {wrong:,} of them wrong."), kind)


def _matrix(classes: Sequence[ClassFigures], confusions: Sequence[Confusion]) -> list[list[int]]:
    places = {row.index: place for place, row in enumerate(classes)}
    size = len(places)
    matrix = [[0] * (size + 1) for _ in range(size)]
    for row in classes:
        matrix[places[row.index]][places[row.index]] = row.correct
    for pair in confusions:
        matrix[places[pair.target]][places.get(pair.predicted, size)] += pair.images
    return matrix if any(row[size] for row in matrix) else [row[:size] for row in matrix]


def _draw(rows: list[list[int]], names: list[str], columns: list[str], title: str, caption: str) -> "Figure":
    """On light paper, like the charts of `compare`."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    side = (0.36 if len(columns) <= _NUMBERED else 0.2) * len(columns)
    width, height = max(5.6, side + 2.7), max(4.6, side + 2.4)
    figure, axes = new_figure(width, height)
    figure.set_layout_engine("constrained", rect=(0.015, 0.3 / height, 0.97, 1 - 1.15 / height))
    shares = [[count / (sum(row) or 1) for count in row] for row in rows]
    stops = ((0, LIGHT.card), (0.1, LIGHT.grid), (0.25, LIGHT.tint), (1, LIGHT.accent))
    colors = LinearSegmentedColormap.from_list("share", stops)
    # The square root makes a share of 1 % visible.
    image = axes.imshow(shares, cmap=colors, norm=PowerNorm(0.5, vmin=0, vmax=1))
    axes.set_xticks(range(len(columns)), columns, rotation=90, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    axes.set(xlabel="taken for", ylabel="true class")
    _draw_scale(figure, axes, image)
    if len(columns) <= _NUMBERED:
        _number(axes, rows, shares)
    entitle(figure, LIGHT, "Confusion matrix", title, caption)
    return figure


def _draw_scale(figure: "Figure", axes: "Axes", image: "AxesImage") -> None:
    ticks = (0, 0.01, 0.05, 0.1, 0.25, 0.5, 1)
    scale = figure.colorbar(
        image, ax=axes, label="share of the class's images", shrink=0.8, ticks=ticks, format="{x:.0%}"
    )
    scale.outline.set_visible(False)
    scale.ax.tick_params(length=0)


def _number(axes: "Axes", rows: list[list[int]], shares: list[list[float]]) -> None:
    for y, (row, share) in enumerate(zip(rows, shares, strict=True)):
        for x, count in enumerate(row):
            if count:
                axes.text(
                    x,
                    y,
                    f"{count}",
                    ha="center",
                    va="center",
                    fontsize="small",
                    color=LIGHT.paper if share[x] > 0.25 else LIGHT.ink,
                )


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LENGTH else f"{label[: _LABEL_LENGTH - 1]}…"
