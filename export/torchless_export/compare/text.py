"""The comparison for people at a terminal: the table, and what it recommends."""

import math
from collections.abc import Callable, Iterator

from torchless.text import columns
from torchless_export.compare.comparison import Comparison, Row, Speed, Where
from torchless_export.compare.measure import BATCH_SIZE
from torchless_export.compare.recommend import Candidate, Limits, Recommendation, Relaxation

Spelled = Callable[[str], str]  # how a limit's name is written, such as max_size_mb: as it is, or as a flag


def candidates(comparison: Comparison) -> tuple[Where, list[Candidate]]:
    """The models as choices: those with a known error, by their time on the CPU, or on the GPU where that alone was
    measured.
    """
    where: Where = "cpu" if comparison.measured("cpu") else "gpu"
    found = [(row, row.errors, row.speed(where)) for row in comparison.rows]
    return where, [
        Candidate(row.model, s.single.p50_ms, row.size_mb, 100 - e.top1)
        for row, e, s in found
        if e is not None and s is not None
    ]


def comparison_text(comparison: Comparison) -> str:
    """The lines of `torchless compare`."""
    return "\n".join(_lines(comparison))


def _lines(comparison: Comparison) -> Iterator[str]:
    gpu = bool(comparison.measured("gpu"))
    heading: tuple[str, ...] = ("model", "weights", "top-1 error", "top-5", "CPU p50 ms", "p95", "images/s")
    heading += ("GPU p50 ms", "p95", "images/s") if gpu else ()
    heading += ("MB", "params", "GFLOPs", "memory MB")
    rows = sorted(comparison.rows, key=lambda row: (row.errors.top1 if row.errors is not None else math.inf, row.model))
    yield from columns([heading, *(_row(row, gpu) for row in rows)], "<<" + ">" * (len(heading) - 2))
    yield ""
    yield comparison.errors_caption()
    yield f"{comparison.times_caption('cpu')} One image per call; images/s in batches of {BATCH_SIZE}."
    yield comparison.times_caption("gpu")
    yield from (f"no errors for {row.model}: {row.no_errors}" for row in comparison.rows if row.errors is None)
    yield from comparison.notes()
    yield from (f"FAILED: {failure}" for failure in comparison.failures)


def _row(row: Row, gpu: bool) -> tuple[str, ...]:
    errors = row.errors
    return (
        row.model,
        weights_text(row),
        number(errors.top1 if errors else None, 2),
        number(errors.top5 if errors else None, 2),
        *_speed(row.cpu),
        *(_speed(row.gpu) if gpu else ()),
        number(row.size_mb, 1),
        number(row.parameters / 1e6 if row.parameters else None, 1, " M"),
        number(row.gflops, 2),
        number(row.peak_bytes / 1e6 if row.peak_bytes else None, 0),
    )


def weights_text(row: Row) -> str:
    """Which weights are in the file; and which errors are shown, if it has none of its own."""
    if row.weights is not None:
        return row.weights
    shown = row.errors.of if row.errors is not None and row.errors.source == "published" else None
    return f"none (errors of {shown})" if shown else "none"


def _speed(speed: Speed | None) -> tuple[str, str, str]:
    if speed is None:
        return "–", "–", "–"
    return number(speed.single.p50_ms, 1), number(speed.single.p95_ms, 1), number(speed.images_per_second, 1)


def number(value: float | None, digits: int, unit: str = "") -> str:
    """With that many decimals, or a dash."""
    return "–" if value is None else f"{value:,.{digits}f}{unit}"


def recommendation_lines(found: Recommendation, where: Where, *, spelled: Spelled = str) -> Iterator[str]:
    """What to take and why, or what to relax; the times are from `where`."""
    limits = ", ".join(f"{spelled(name)} {value:g}" for name, value in found.limits.given().items()) or "no limits"
    if found.best is None:
        yield (
            f"no model keeps to {limits} ({where.upper()})"
            if found.relaxations
            else "nothing to recommend: no model with a known error"
        )
        yield from (
            f"  relax {_change(found.limits, relaxation, spelled)}: that admits {relaxation.admits}"
            for relaxation in found.relaxations
        )
        return
    yield f"take {_described(found.best)} on the {where.upper()}"
    yield f"  {found.rule} ({limits})"
    if found.runner_up is not None:
        yield f"  not {found.runner_up.name}: {found.why_not}"
    others = [candidate.name for candidate in found.front if candidate is not found.best]
    if others:
        yield f"  also on the Pareto front of accuracy, time and size: {', '.join(others)}"


def _described(candidate: Candidate) -> str:
    return f"{candidate.name} ({candidate.acc1:.2f} % top-1, {candidate.latency_ms:.1f} ms, {candidate.size_mb:.1f} MB)"


def _change(limits: Limits, relaxation: Relaxation, spelled: Spelled) -> str:
    return " and ".join(
        _relaxed(name, getattr(limits, name), getattr(relaxation.limits, name), spelled) for name in relaxation.changed
    )


def _relaxed(name: str, old: float, new: float, spelled: Spelled) -> str:
    """Rounded so that the model is still admitted."""
    shown = math.floor(new * 100) / 100 if name == "min_acc1" else math.ceil(new * 10) / 10
    return f"{spelled(name)} {old:g} to {shown:g} (by {abs(shown - old):.4g})"
