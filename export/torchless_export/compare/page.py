"""report.html: one self-contained page with the recommendation, a table to sort and filter, the charts, and the
machine.
"""

import base64
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from jinja2 import Environment, PackageLoader

from torchless.palette import css
from torchless_export.compare.comparison import Comparison, Errors, Row, Speed, Where
from torchless_export.compare.families import color_of
from torchless_export.compare.measure import BATCH_SIZE
from torchless_export.compare.recommend import Recommendation
from torchless_export.compare.text import number, recommendation_lines, weights_text


@dataclass(frozen=True)
class Picture:
    """A chart as two SVG files, for light and for dark surroundings; `alt` says what it shows."""

    alt: str
    light: bytes
    dark: bytes

    def uri(self, dark: bool) -> str:
        """For src=."""
        return "data:image/svg+xml;base64," + base64.b64encode(self.dark if dark else self.light).decode()


@dataclass(frozen=True)
class _Cell:
    """What is shown, with a note in small letters, and by what the column sorts; None sorts last, either way."""

    text: str
    value: float | str | None
    note: str = ""


@dataclass(frozen=True)
class _Column:
    """`group` is above columns that belong together; `cell` makes a row's cell."""

    group: str
    title: str
    unit: str
    cell: Callable[[Row], _Cell]

    @property
    def name(self) -> str:
        """Where it stands alone."""
        return " ".join(filter(None, (self.group, self.title)))


def _columns(comparison: Comparison) -> list[_Column]:
    """Those that have a figure for at least one model; the first is the model's name."""
    found = [
        _Column("", "model", "", lambda row: _Cell(row.model, row.model)),
        _Column("", "top-1 error", "%", lambda row: _error(row.errors, "top1")),
        _Column("", "top-5 error", "%", lambda row: _error(row.errors, "top5")),
        *_speed_columns("cpu"),
        *_speed_columns("gpu"),
        _Column("", "size", "MB", lambda row: _number(row.size_mb, 1)),
        _Column("", "parameters", "10⁶", lambda row: _number(row.parameters and row.parameters / 1e6, 1)),
        _Column("", "GFLOPs", "", lambda row: _number(row.gflops, 2)),
        _Column("", "memory", "MB", lambda row: _number(row.peak_bytes and row.peak_bytes / 1e6, 0)),
        _Column("", "decode", "ms", lambda row: _number(row.decode.p50_ms, 1)),
        _Column("", "preprocess", "ms", lambda row: _number(row.preprocess.p50_ms, 1)),
        _Column("", "image", "px", lambda row: _number(row.image_size, 0)),
    ]
    return [column for column in found if any(column.cell(row).value is not None for row in comparison.rows)]


def _speed_columns(where: Where) -> list[_Column]:
    def of(read: Callable[[Speed], float]) -> Callable[[Row], _Cell]:
        return lambda row: _number(read(speed) if (speed := row.speed(where)) is not None else None, 1)

    device = where.upper()
    return [
        _Column(device, "p50", "ms", of(lambda speed: speed.single.p50_ms)),
        _Column(device, "p95", "ms", of(lambda speed: speed.single.p95_ms)),
        _Column(device, f"in {BATCH_SIZE}s", "images/s", of(lambda speed: speed.images_per_second)),
    ]


def render(comparison: Comparison, found: Recommendation, where: Where, pictures: Sequence[Picture]) -> str:
    """The page as text. Everything in it that comes from outside, such as names of files, is escaped."""
    environment = Environment(
        loader=PackageLoader("torchless_export.compare", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    front, columns = {candidate.name for candidate in found.front}, _columns(comparison)
    return environment.get_template("page.html.jinja").render(
        palette=css(),
        comparison=comparison,
        columns=columns,
        rows=[
            (row, color_of(row.family), row.model in front, weights_text(row), [column.cell(row) for column in columns])
            for row in sorted(comparison.rows, key=_by_error)
        ],
        best=found.best.name if found.best is not None else None,
        recommendation=list(recommendation_lines(found, where)),
        where=where,
        pictures=pictures,
        batch_size=BATCH_SIZE,
    )


def _by_error(row: Row) -> tuple[bool, float, str]:
    return row.errors is None, row.errors.top1 if row.errors is not None else 0, row.model


def _error(errors: Errors | None, which: Literal["top1", "top5"]) -> _Cell:
    if errors is None:
        return _number(None, 2)
    value, low, high = (getattr(errors, f"{which}{end}") for end in ("", "_low", "_high"))
    interval = f"{low:.2f}–{high:.2f}" if low is not None and high is not None else ""
    return _Cell(number(value, 2), value, interval)


def _number(value: float | None, digits: int) -> _Cell:
    return _Cell(number(value, digits), value)
