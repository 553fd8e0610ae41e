"""compare: from models to a folder with the comparison as JSON, charts and a page."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.charts import file_of, style
from torchless.errors import TorchlessError, UsageError
from torchless.files import atomic_path, writing
from torchless.palette import DARK, LIGHT, Theme
from torchless_export.compare.comparison import Comparison, Figures, Where, make_comparison
from torchless_export.compare.elsewhere import check, join
from torchless_export.compare.measurements import Measurements, open_measurements
from torchless_export.compare.published import published_figures
from torchless_export.compare.recommend import Limits, Recommendation, recommend
from torchless_export.compare.request import Request
from torchless_export.compare.rounds import measure_all
from torchless_export.compare.subjects import Progress, Subject, find_subjects
from torchless_export.compare.text import candidates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from torchless_export.compare.page import Picture

Draw = Callable[[Theme], "Figure"]
CHARTS = ("bubble-gpu", "bubble-cpu", "errors", "cpu-time", "gpu-time", "size")  # all that there can be


@dataclass(frozen=True)
class Compared:
    """The comparison, and the model to take; the recommendation's times are from `where`."""

    comparison: Comparison
    recommendation: Recommendation
    where: Where


def compare(request: Request, folder: Path, *, progress: Progress = lambda _: None) -> Compared:
    """Exports what is missing, measures what FOLDER/measurements.json does not have yet, and writes comparison.json,
    charts and report.html.

    Raises what find_subjects, measure_all and measure_errors raise, UsageError where the folder cannot be written, and
    TorchlessError when no model at all could be measured.
    """
    with style(LIGHT):
        pass  # without matplotlib the measurements would be of no use
    if request.measurements is not None:
        check(request.measurements)
    subjects = find_subjects(request.models, weights=request.weights, folder=request.artifacts, progress=progress)
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    kept = open_measurements(folder / "measurements.json")
    figures = _figures(request, subjects, kept, progress)
    elsewhere = request.measurements
    settings = request.settings if elsewhere is None else replace(request.settings, device="cpu")
    measured = measure_all(subjects, settings, kept, day=today(), progress=progress)
    if len(measured.failures) == len(subjects):
        raise TorchlessError("; ".join(measured.failures.values()))
    comparison = make_comparison(subjects, measured, figures, settings)
    if elsewhere is not None:
        comparison = join(comparison, subjects, elsewhere)
    return write(comparison, request.limits, folder)


def today() -> str:
    """The date in a report, YYYY-MM-DD in UTC: that of SOURCE_DATE_EPOCH where it is set (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH must be seconds since 1970, got {epoch!r}") from None
    return moment.date().isoformat()


def write(comparison: Comparison, limits: Limits, folder: Path) -> Compared:
    """Writes all files of a comparison. Raises UsageError where they cannot be written."""
    from torchless_export.compare.page import render

    where, choices = candidates(comparison)
    found = recommend(choices, limits)
    pictures = []
    _remove_charts(folder)
    for name, (alt, draw) in charts(comparison).items():
        pictures.append(_draw(draw, alt, folder / name))
    _write(folder / "comparison.json", (json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())
    _write(folder / "report.html", render(comparison, found, where, pictures).encode(errors="backslashreplace"))
    return Compared(comparison, found, where)


def charts(comparison: Comparison) -> dict[str, tuple[str, Draw]]:
    """By file name: what each shows, and the function that draws it. What was not measured has no chart."""
    from torchless_export.compare.bars import errors_chart, size_chart, time_chart
    from torchless_export.compare.bubble import bubble_chart, bubbles

    found: dict[str, tuple[str, Draw]] = {}
    devices: tuple[Where, ...] = ("gpu", "cpu")
    for where in devices:
        if bubbles(comparison, where):
            alt = f"Top-1 error against {where.upper()} time, bubbles of the size of the file"
            found[f"bubble-{where}"] = alt, partial(bubble_chart, comparison, where)
    if any(row.errors is not None for row in comparison.rows):
        found["errors"] = "Top-1 and top-5 error by model", partial(errors_chart, comparison)
    for where in reversed(devices):
        if comparison.measured(where):
            found[f"{where}-time"] = f"{where.upper()} time by model", partial(time_chart, comparison, where)
    return found | {"size": ("Size of the file by model", partial(size_chart, comparison))}


def _remove_charts(folder: Path) -> None:
    """Of an earlier comparison, which may have had more of them."""
    for name in CHARTS:
        for kind in ("png", "svg"):
            with writing(folder / f"{name}.{kind}"):
                (folder / f"{name}.{kind}").unlink(missing_ok=True)


def _figures(
    request: Request, subjects: Sequence[Subject], kept: Measurements, progress: Progress
) -> dict[str, Figures]:
    """Either all errors are measured, or all are published: a chart never shows both."""
    figures = {subject.name: published_figures(subject.manifest, request.published) for subject in subjects}
    if request.data is None:
        return figures
    from torchless_export.compare.errors_on_data import measure_errors

    device = request.settings.device
    errors = measure_errors(
        subjects, request.data, kept, class_map=request.class_map, limit=request.limit, device=device, progress=progress
    )
    why = "untrained: random weights have no error worth measuring"
    return {
        name: Figures(errors=errors.get(name), no_errors=None if name in errors else why, gflops=known.gflops)
        for name, known in figures.items()
    }


def _draw(draw: Draw, alt: str, path: Path) -> "Picture":
    """Writes PATH.png and PATH.svg for a light page; the report also takes one for a dark page."""
    from torchless_export.compare.page import Picture

    files = {}
    for name, colors in (("light", LIGHT), ("dark", DARK)):
        with style(colors):
            figure = draw(colors)
            files[name] = file_of(figure, "svg")
            if colors is LIGHT:
                _write(path.with_suffix(".png"), file_of(figure, "png"))
    _write(path.with_suffix(".svg"), files["light"])
    return Picture(alt, files["light"], files["dark"])


def _write(path: Path, data: bytes) -> None:
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
