"""The picture of a confusion matrix. Needs the extra `compare` (matplotlib)."""

import os
import warnings
from pathlib import Path
from typing import Any

from torchless.errors import UsageError, extra
from torchless.evaluate.dataset import Dataset
from torchless.evaluate.tally import Evaluation
from torchless.files import atomic_path
from torchless.palette import LIGHT

MAX_CLASSES = 50
_SUFFIXES = (".png", ".svg", ".pdf")
_OTHER, _NUMBERED, _LABEL_LENGTH = "any other", 30, 24


def check_picture(path: Path, dataset: Dataset) -> None:
    """Raises UsageError or MissingDependencyError before any work is done, if the picture cannot be drawn to that file
    or on this machine.
    """
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"cannot draw {path}: a picture ends in {', '.join(_SUFFIXES)}")
    if not os.path.isdir(path.parent):
        raise UsageError(f"cannot draw {path}: there is no folder {path.parent}")
    classes = len({example.target for example in dataset})
    if classes > MAX_CLASSES:
        raise UsageError(
            f"a confusion matrix is drawn for at most {MAX_CLASSES} classes, {dataset.source} has {classes}; "
            f"`json` has the confusions"
        )
    _import_matplotlib()


def draw_confusion_matrix(evaluation: Evaluation, path: Path, title: str) -> None:
    """A row for each class that has images and a column for each predicted class: numbers of images, darker for a
    larger share.

    Classes without images share the last column, if any image was assigned to them. Raises UsageError if the file
    cannot be written.
    """
    rows, names = _matrix(evaluation), [_short(row.label) for row in evaluation.classes]
    columns = names + [_OTHER] * (len(rows[0]) - len(rows))
    figure = _draw(_import_matplotlib(), rows, names, columns, title)
    with atomic_path(path) as temporary, warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # about letters that the font lacks: they become boxes in the picture
        figure.savefig(temporary, format=path.suffix.lower().removeprefix("."), dpi=150)


def _import_matplotlib() -> Any:
    with extra("compare", "a picture"):
        import matplotlib.colors
        import matplotlib.figure
    return matplotlib


def _matrix(evaluation: Evaluation) -> list[list[int]]:
    places = {row.index: place for place, row in enumerate(evaluation.classes)}
    size = len(places)
    matrix = [[0] * (size + 1) for _ in range(size)]
    for row in evaluation.classes:
        matrix[places[row.index]][places[row.index]] = row.correct
    for pair in evaluation.confusions:
        matrix[places[pair.target]][places.get(pair.predicted, size)] += pair.images
    return matrix if any(row[size] for row in matrix) else [row[:size] for row in matrix]


def _draw(matplotlib: Any, rows: list[list[int]], names: list[str], columns: list[str], title: str) -> Any:
    side = 2.5 + (0.36 if len(columns) <= _NUMBERED else 0.2) * len(columns)
    figure = matplotlib.figure.Figure(figsize=(max(5.0, side + 0.8), max(4.0, side)), layout="constrained")
    axes = figure.add_subplot()
    shares = [[count / (sum(row) or 1) for count in row] for row in rows]
    # The square root makes a share of 1 % visible.
    image = axes.imshow(shares, cmap="Blues", norm=matplotlib.colors.PowerNorm(0.5, vmin=0, vmax=1))
    axes.set_xticks(range(len(columns)), columns, rotation=90, parse_math=False)
    axes.set_yticks(range(len(names)), names, parse_math=False)
    axes.set(xlabel="taken for", ylabel="true class")
    axes.set_title(title, fontsize="medium", parse_math=False)
    figure.colorbar(
        image,
        label="share of the class's images",
        shrink=0.8,
        ticks=(0, 0.01, 0.05, 0.1, 0.25, 0.5, 1),
        format="{x:.0%}",
    )
    if len(columns) <= _NUMBERED:
        _number(axes, rows, shares)
    return figure


def _number(axes: Any, rows: list[list[int]], shares: list[list[float]]) -> None:
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
