"""docs/compare.md: its charts, its tables, and what still holds of the tutorial that torchless began with.

The tutorial's conclusions are checked against what was measured, with the errors of the weights that a model had first
(IMAGENET1K_V1) and of those that it has by default today.
"""

import statistics
from collections.abc import Callable, Iterator

from rendering import Row as Document
from rendering.markdown import table
from torchless.charts import Format, file_of, style
from torchless.cli.program import flag_of
from torchless.palette import LIGHT
from torchless_export.compare.compare import charts
from torchless_export.compare.comparison import Comparison, Row
from torchless_export.compare.recommend import Candidate, Limits, by_compromise, recommend
from torchless_export.compare.subjects import TUTORIAL
from torchless_export.compare.text import candidates, number, recommendation_lines, weights_text
from torchless_export.sources import catalog

CHARTS = ("bubble-cpu", "errors", "cpu-time", "size")
KINDS: tuple[Format, ...] = ("png", "svg")
FIRST = "IMAGENET1K_V1"
EXAMPLES = (Limits(max_latency_ms=20, max_size_mb=50, min_acc1=75), Limits(max_latency_ms=20, min_acc1=80))
_HEADING = (
    "model", "weights", "top-1 error %", "top-5", "CPU p50 ms", "p95", "images/s in eights", "MB",
    "parameters, 10⁶", "GFLOPs", "memory MB",
)  # fmt: skip


def machine(figures: Document) -> str:
    """Where, when and how it was measured."""
    comparison = Comparison.from_dict(figures)
    versions = ", ".join(f"{name} {value}" for name, value in comparison.versions.items())
    return (
        f"{comparison.errors_caption()} {comparison.times_caption('cpu')} {comparison.times_caption('gpu')}\n"
        f"{comparison.rounds} rounds; {versions}."
    )


def models(figures: Document) -> str:
    """All models, those with the least error first."""
    return table(_HEADING, _rows(Comparison.from_dict(figures)))


def _rows(comparison: Comparison) -> Iterator[tuple[str, ...]]:
    for row in sorted(comparison.rows, key=lambda row: (row.errors.top1 if row.errors else 100, row.model)):
        cpu = row.cpu
        yield (
            row.model,
            weights_text(row),
            number(row.errors.top1 if row.errors else None, 2),
            number(row.errors.top5 if row.errors else None, 2),
            number(cpu.single.p50_ms if cpu else None, 1),
            number(cpu.single.p95_ms if cpu else None, 1),
            number(cpu.images_per_second if cpu else None, 1),
            number(row.size_mb, 1),
            number(row.parameters / 1e6 if row.parameters else None, 1),
            number(row.gflops, 2),
            number(row.peak_bytes / 1e6 if row.peak_bytes else None, 0),
        )


def tutorial(figures: Document) -> str:
    """Each conclusion, whether it holds, and the figures that say so."""
    comparison = Comparison.from_dict(figures)
    rows = {row.model: row for row in comparison.rows if row.model in TUTORIAL}
    lines = (_compromise(comparison, rows), _smallest(rows), _slow(rows), _high_error(rows))
    return table(("the tutorial says", "here", "figures"), lines).replace("---:", "---")


def _compromise(comparison: Comparison, rows: dict[str, Row]) -> tuple[str, str, str]:
    _, every = candidates(comparison)
    now = [candidate for candidate in every if candidate.name in rows]
    then = [_with_first_weights(candidate) for candidate in now]
    places = {}
    for what, group in (
        (f"{len(then)} models with {FIRST}", then),
        ("the same with default weights", now),
        (f"all {len(every)} models", every),
    ):
        order = [candidate.name for candidate in by_compromise(group)]
        places[what] = (order.index("resnet50") + 1, order[0])
    text = "; ".join(f"of {what} it is number {place}, {first} comes first" for what, (place, first) in places.items())
    return (
        "ResNet-50 is the best compromise of error, time and size",
        _verdict([place == 1 for place, _ in places.values()]),
        text,
    )


def _with_first_weights(candidate: Candidate) -> Candidate:
    acc1 = catalog.published(catalog.find_weights(candidate.name, FIRST)).acc1
    if acc1 is None:
        raise SystemExit(f"torchvision publishes no accuracy of {candidate.name} {FIRST}")
    return Candidate(candidate.name, candidate.latency_ms, candidate.size_mb, acc1)


def _smallest(rows: dict[str, Row]) -> tuple[str, str, str]:
    order = sorted(rows.values(), key=lambda row: row.size_bytes)
    holds = [row.family == "SqueezeNet" for row in order[:2]]
    return (
        "SqueezeNet is the smallest",
        _verdict(holds),
        ", ".join(f"{row.model} {row.size_mb:.1f} MB" for row in order[:4]),
    )


def _slow(rows: dict[str, Row]) -> tuple[str, str, str]:
    times = {row.model: row.cpu.single.p50_ms for row in rows.values() if row.cpu is not None}
    middle = statistics.median(times.values())
    named = [name for name in times if name.startswith(("densenet", "resnext101"))]
    slower = sorted(times, key=lambda name: -times[name])
    figures = ", ".join(
        f"{name} {times[name]:.0f} ms (no. {slower.index(name) + 1})" for name in sorted(named, key=slower.index)
    )
    holds = _verdict([times[name] > middle for name in named])
    slowest = f"the slowest of all is {slower[0]}, {times[slower[0]]:.0f} ms"
    return (
        "DenseNet and ResNeXt-101 are slow",
        holds,
        f"the median is {middle:.0f} ms; from the slowest: {figures}; {slowest}",
    )


def _high_error(rows: dict[str, Row]) -> tuple[str, str, str]:
    order = sorted(
        (row for row in rows.values() if row.errors is not None),
        key=lambda row: -(row.errors.top1 if row.errors else 0),
    )
    worst = order[:3]
    holds = [row.family in ("AlexNet", "SqueezeNet") for row in worst]
    figures = ", ".join(f"{row.model} {row.errors.top1:.1f} %" for row in order[:4] if row.errors is not None)
    return "AlexNet and SqueezeNet have a high error", _verdict(holds), f"top-1, from the highest: {figures}"


def _verdict(holds: list[bool]) -> str:
    return "holds" if all(holds) else "no longer" if not any(holds) else f"in {sum(holds)} of {len(holds)} cases"


def recommendation(figures: Document) -> str:
    """What `torchless compare` recommends with and without limits."""
    where, choices = candidates(Comparison.from_dict(figures))
    found = (
        recommendation_lines(recommend(choices, limits), where, spelled=flag_of) for limits in (Limits(), *EXAMPLES)
    )
    return "\n".join(line for lines in found for line in (*(f"    {line}" for line in lines), ""))


def chart(name: str, kind: Format) -> Callable[[Document], bytes]:
    """A function that draws one of the charts, for light surroundings."""

    def draw(figures: Document) -> bytes:
        _, drawn = charts(Comparison.from_dict(figures))[name]
        with style(LIGHT):
            return file_of(drawn(LIGHT), kind)

    return draw
