"""report.html: one self-contained page with the recommendation, a table to sort and filter, the charts, and the
machine.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader

from torchless.palette import css
from torchless_export.compare.comparison import Comparison, Row, Speed, Where
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
    """What is shown, and by what the column sorts; None sorts last, either way."""

    text: str
    value: float | str | None


@dataclass(frozen=True)
class _Column:
    title: str
    unit: str
    numeric: bool = True


def _columns(gpu: bool) -> list[_Column]:
    """Without a GPU there is one column for it, which says so."""
    speed = ("ms p50", "ms p95", f"images/s, {BATCH_SIZE} at once")
    return [
        *(_Column(name, "", False) for name in ("model", "family", "weights")),
        *(_Column(f"{name} error", "%") for name in ("top-1", "top-5")),
        *(_Column("CPU", unit) for unit in speed),
        *([_Column("GPU", unit) for unit in speed] if gpu else [_Column("GPU", "")]),
        *(
            _Column(name, unit)
            for name, unit in (("size", "MB"), ("parameters", "10⁶"), ("GFLOPs", ""), ("memory", "MB"))
        ),
        *(_Column(name, unit) for name, unit in (("decode", "ms"), ("preprocess", "ms"), ("image", "px"))),
    ]


def render(comparison: Comparison, found: Recommendation, where: Where, pictures: Sequence[Picture]) -> str:
    """The page as text. Everything in it that comes from outside, such as names of files, is escaped."""
    environment = Environment(
        loader=PackageLoader("torchless_export.compare", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    gpu = bool(comparison.measured("gpu"))
    front = {candidate.name for candidate in found.front}
    return environment.get_template("page.html.jinja").render(
        palette=css(),
        comparison=comparison,
        columns=_columns(gpu),
        rows=[
            (row, color_of(row.family), row.model in front, _cells(row, gpu))
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


def _cells(row: Row, gpu: bool) -> list[_Cell]:
    errors = row.errors
    return [
        _Cell(row.model, row.model),
        _Cell(row.family, row.family),
        _Cell(weights_text(row), weights_text(row)),
        _error(
            errors.top1 if errors else None, errors.top1_low if errors else None, errors.top1_high if errors else None
        ),
        _error(
            errors.top5 if errors else None, errors.top5_low if errors else None, errors.top5_high if errors else None
        ),
        *_speed(row.cpu),
        *(_speed(row.gpu) if gpu else [_Cell("not measured", None)]),
        _number(row.size_mb, 1),
        _number(row.parameters / 1e6 if row.parameters else None, 1),
        _number(row.gflops, 2),
        _number(row.peak_bytes / 1e6 if row.peak_bytes else None, 0),
        _number(row.decode.p50_ms, 1),
        _number(row.preprocess.p50_ms, 1),
        _number(row.image_size, 0),
    ]


def _error(value: float | None, low: float | None, high: float | None) -> _Cell:
    interval = f" ({low:.2f}–{high:.2f})" if low is not None and high is not None else ""
    return _Cell(number(value, 2) + interval, value)


def _speed(speed: Speed | None) -> list[_Cell]:
    if speed is None:
        return [_number(None, 0)] * 3
    return [_number(speed.single.p50_ms, 1), _number(speed.single.p95_ms, 1), _number(speed.images_per_second, 1)]


def _number(value: float | None, digits: int) -> _Cell:
    return _Cell(number(value, digits), value)
