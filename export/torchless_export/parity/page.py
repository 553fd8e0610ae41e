"""A verification as one self-contained HTML file: checks against limits, metrics, a histogram of errors, and every image's answers."""

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader
from PIL import Image

from torchless.classifier import softmax
from torchless.errors import UsageError
from torchless.files import atomic_path
from torchless.images import load_rgb
from torchless.report import UNTRAINED, megabytes
from torchless_export import judges
from torchless_export.parity.evidence import Evidence, Logits, SetEvidence
from torchless_export.parity.metrics import best
from torchless_export.parity.text import limit_text

if TYPE_CHECKING:
    from torchless_export.verify import Verification

# Of more images than this, those that disagree and the first of the others are shown.
_MAX_IMAGES = 100
_THUMBNAIL_PIXELS = 160
_BINS_PER_DECADE = 4
# Of PyTorch's own error: what is smaller is counted in the lowest bar.
_SMALLEST_SHOWN = 1e-3
_SET_NAMES = {"random": "Noise", "photos": "Photos", "yours": "Your images"}


def write_page(verification: "Verification", path: Path) -> None:
    """Writes the file whole or not at all. Raises UsageError when it cannot be written."""
    text = render(verification)
    try:
        with atomic_path(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error


def render(verification: "Verification") -> str:
    """The page as text. Everything in it that comes from outside, such as labels and file names, is escaped."""
    verdict, artifact, labels = verification.verdict, verification.artifact, verification.loaded.labels
    evidence = verdict.evidence
    environment = Environment(loader=PackageLoader("torchless_export.parity", "."), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("page.html.jinja").render(
        manifest=artifact.manifest,
        file=artifact.path.name,
        size=megabytes(artifact.file.file_size),
        parity=verdict.parity,
        departure=str(verdict.departure) if verdict.departure is not None else None,
        untrained=None if artifact.manifest.is_trained else UNTRAINED,
        tf32_error=verification.tf32_error,
        unreadable=verification.unreadable,
        set_names=_SET_NAMES,
        limit_text=limit_text,
        histograms=[_histogram(evidence, name) for name in evidence.sets] if evidence is not None else [],
        sets=[(_SET_NAMES[name], len(found.judges), list(_answers(name, found, labels))) for name, found in evidence.sets.items()]
        if evidence is not None
        else [],
    )


@dataclass(frozen=True)
class _Bar:
    """One bar of a histogram; `left`, `width` and `height` are shares of the plot, `count` the logits in it."""

    left: float
    width: float
    height: float
    count: int
    low: float
    high: float


@dataclass(frozen=True)
class _Histogram:
    """How many logits are how far from PyTorch's, on a logarithmic axis; `marks` are (share of the width, name, value)."""

    name: str
    bars: tuple[_Bar, ...]
    marks: tuple[tuple[float, str, float], ...]
    ticks: tuple[tuple[float, int], ...]
    exact: int
    total: int


def _histogram(evidence: Evidence, name: str) -> _Histogram:
    found, limits = evidence.sets[name], evidence.limits(name)
    errors = np.abs(found.runs[1] - found.reference).ravel()
    errors = errors[np.isfinite(errors)]
    positive = errors[errors > 0]
    low = np.floor(np.log10(max(positive.min(initial=limits.unit), limits.unit * _SMALLEST_SHOWN)))
    high = np.ceil(np.log10(max(positive.max(initial=limits.unit), limits.absolute))) + 1
    edges = np.linspace(low, high, round((high - low) * _BINS_PER_DECADE) + 1)
    counts, _ = np.histogram(np.log10(positive).clip(low, high), edges)
    width, tallest = 1 / len(counts), max(int(counts.max(initial=0)), 1)
    bars = tuple(
        _Bar(i * width, width, int(count) / tallest, int(count), float(10 ** edges[i]), float(10 ** edges[i + 1]))
        for i, count in enumerate(counts)
    )
    marks = [("limit", limits.absolute)] + ([("PyTorch's own error", limits.unit)] if found.own_error is not None else [])
    return _Histogram(
        name=_SET_NAMES[name],
        bars=bars,
        marks=tuple((float((np.log10(value) - low) / (high - low)), text, value) for text, value in marks),
        ticks=tuple((float((tick - low) / (high - low)), int(tick)) for tick in np.arange(low, high + 1, 1 if high - low < 7 else 2)),
        exact=int((errors == 0).sum()),
        total=int(errors.size),
    )


@dataclass(frozen=True)
class _Answer:
    """One image with the top five of both sides; a row of each is (label, probability in percent, whether both have it at that place)."""

    name: str
    thumbnail: str
    agrees: bool
    max_error: float
    ours: tuple[tuple[str, float, bool], ...]
    theirs: tuple[tuple[str, float, bool], ...]


def _answers(name: str, found: SetEvidence, labels: Sequence[str]) -> Iterator[_Answer]:
    orders = [(best(wanted), best(got)) for wanted, got in zip(found.reference, found.runs[1], strict=True)]
    differing = [i for i, (wanted, got) in enumerate(orders) if wanted != got]
    shown = sorted((differing + [i for i in range(len(orders)) if i not in set(differing)])[:_MAX_IMAGES])
    own = {judge.told.name: judge.image for judge in (*judges.noise(seed=2), *judges.photos())}
    for i in shown:
        wanted, got = orders[i]
        label = found.judges[i].name
        yield _Answer(
            name=label,
            thumbnail=_thumbnail(load_rgb(label) if name == "yours" else own[label]),
            agrees=wanted == got,
            max_error=float(np.abs(found.runs[1][i] - found.reference[i]).max()),
            ours=_rows(found.reference[i], wanted, got, labels),
            theirs=_rows(found.runs[1][i], got, wanted, labels),
        )


def _rows(logits: Logits, order: list[int], other: list[int], labels: Sequence[str]) -> tuple[tuple[str, float, bool], ...]:
    probabilities: Any = softmax(logits)
    return tuple((labels[index], 100 * float(probabilities[index]), index == twin) for index, twin in zip(order, other, strict=True))


def _thumbnail(image: Image.Image) -> str:
    """A data URL."""
    small = image.copy()
    small.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()
