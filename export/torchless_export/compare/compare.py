"""compare: from models to a folder with the comparison as JSON, charts and a page."""

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.errors import TorchlessError, UsageError
from torchless.files import atomic_path
from torchless.palette import DARK, LIGHT, Theme
from torchless_export.compare import theme
from torchless_export.compare.comparison import Comparison, Figures, Where, make_comparison
from torchless_export.compare.measurements import Measurements, open_measurements
from torchless_export.compare.published import published_figures
from torchless_export.compare.recommend import Limits, Recommendation, recommend
from torchless_export.compare.rounds import Settings, measure_all
from torchless_export.compare.subjects import Subject, find_subjects
from torchless_export.compare.text import candidates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from torchless_export.compare.page import Picture

Report = Callable[[str], None]
Draw = Callable[[Theme], "Figure"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to compare, and how. `weights` are of names that have to be exported; `published` says of which weights to show torchvision's errors
    for untrained models; `data`, `class_map` and `limit` are as for evaluate.
    """

    models: Sequence[str]
    weights: str = "DEFAULT"
    published: str = "DEFAULT"
    artifacts: Path = Path("artifacts")
    data: str | None = None
    class_map: Path | None = None
    limit: int | None = None
    settings: Settings = field(default_factory=Settings)
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Answer:
    """What was found; the recommendation's times are from `where`."""

    comparison: Comparison
    recommendation: Recommendation
    where: Where


def compare(request: Request, folder: Path, *, report: Report = lambda _: None) -> Answer:
    """Exports what is not there, measures what FOLDER/measurements.json does not have, and writes comparison.json, charts and report.html.

    Raises what find_subjects, measure_all and measure_errors raise, UsageError where the folder cannot be written, and TorchlessError when no
    model at all could be measured.
    """
    with theme.style(LIGHT):
        pass  # without matplotlib there is nothing to measure for
    subjects = find_subjects(request.models, weights=request.weights, folder=request.artifacts, report=report)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {folder}: {error.strerror or error}") from None
    kept = open_measurements(folder / "measurements.json")
    figures = _figures(request, subjects, kept, report)
    measured = measure_all(subjects, request.settings, kept, report=report)
    if len(measured.failures) == len(subjects):
        raise TorchlessError("; ".join(measured.failures.values()))
    comparison = make_comparison(subjects, measured, figures, request.settings, date=today())
    return write(comparison, request.limits, folder)


def today() -> str:
    """The date that a report bears, YYYY-MM-DD in UTC: that of SOURCE_DATE_EPOCH where it is set (reproducible-builds.org)."""
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    try:
        moment = datetime.now(UTC) if epoch is None else datetime.fromtimestamp(int(epoch), UTC)
    except (ValueError, OverflowError, OSError):
        raise UsageError(f"SOURCE_DATE_EPOCH must be seconds since 1970, got {epoch!r}") from None
    return moment.date().isoformat()


def write(comparison: Comparison, limits: Limits, folder: Path) -> Answer:
    """Writes all files of a comparison. Raises UsageError where they cannot be written."""
    from torchless_export.compare.page import render

    where, choices = candidates(comparison)
    found = recommend(choices, limits)
    pictures = []
    for name, (alt, draw) in charts(comparison).items():
        pictures.append(_draw(draw, alt, folder / name))
    _write(folder / "comparison.json", (json.dumps(comparison.to_dict(), indent=1, ensure_ascii=False) + "\n").encode())
    _write(folder / "report.html", render(comparison, found, where, pictures).encode(errors="backslashreplace"))
    return Answer(comparison, found, where)


def charts(comparison: Comparison) -> dict[str, tuple[str, Draw]]:
    """By the name of their files: what each shows, and the function that draws it. One of the GPU there is without a GPU too: it says so."""
    from torchless_export.compare.bars import errors_chart, size_chart, time_chart
    from torchless_export.compare.bubble import bubble_chart

    found: dict[str, tuple[str, Draw]] = {
        "bubble-cpu": ("Top-1 error against CPU time, bubbles of the size of the file", lambda t: bubble_chart(comparison, "cpu", t)),
        "errors": ("Top-1 and top-5 error by model", lambda t: errors_chart(comparison, t)),
        "cpu-time": ("CPU time by model", lambda t: time_chart(comparison, "cpu", t)),
        "gpu-time": ("GPU time by model", lambda t: time_chart(comparison, "gpu", t)),
        "size": ("Size of the file by model", lambda t: size_chart(comparison, t)),
    }
    if comparison.measured("gpu"):
        alt = "Top-1 error against GPU time, bubbles of the size of the file"
        found = {"bubble-gpu": (alt, lambda t: bubble_chart(comparison, "gpu", t))} | found
    return found


def _figures(request: Request, subjects: Sequence[Subject], kept: Measurements, report: Report) -> dict[str, Figures]:
    """Either all errors are measured, or all are published: one chart never shows both."""
    figures = {subject.name: published_figures(subject.manifest, request.published) for subject in subjects}
    if request.data is None:
        return figures
    from torchless_export.compare.errors_on_data import measure_errors

    device = request.settings.device
    errors = measure_errors(subjects, request.data, kept, class_map=request.class_map, limit=request.limit, device=device, report=report)
    why = "untrained: random weights have no error worth measuring"
    return {
        name: Figures(errors=errors.get(name), no_errors=None if name in errors else why, gflops=known.gflops)
        for name, known in figures.items()
    }


def _draw(draw: Draw, alt: str, path: Path) -> "Picture":
    """Writes PATH.png and PATH.svg, for light surroundings; the page takes one for dark ones too."""
    from torchless_export.compare.page import Picture

    files = {}
    for name, colors in (("light", LIGHT), ("dark", DARK)):
        with theme.style(colors):
            figure = draw(colors)
            files[name] = theme.file_of(figure, "svg")
            if colors is LIGHT:
                _write(path.with_suffix(".png"), theme.file_of(figure, "png"))
    _write(path.with_suffix(".svg"), files["light"])
    return Picture(alt, files["light"], files["dark"])


def _write(path: Path, data: bytes) -> None:
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(data)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from None
