"""The verdict as text: what `torchless export` and `torchless verify` print."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torchless.model.manifest import Metrics, Parity
from torchless.proof.text import checks_table
from torchless.text import columns

if TYPE_CHECKING:
    from torchless_export.gate.checks import Verdict


def explain(verdict: "Verdict") -> str:
    """The table of checks, and where the network broke, if that was found."""
    return "\n".join([table(verdict.parity), *([str(verdict.departure)] if verdict.departure is not None else [])])


def table(parity: Parity) -> str:
    """The checks as aligned text, one per line."""
    return checks_table(parity.checks)


METRICS = ("images", "batch", "max error", "99 %", "of spread", "units", "1 - cosine", "KL", "top-1", "top-5")


def metrics_table(metrics: Sequence[Metrics]) -> str:
    """The metrics as aligned text."""
    return "\n".join(f"  {line}" for line in columns([METRICS, *metrics_rows(metrics)], "<>>>>>>>>>"))


def metrics_rows(metrics: Sequence[Metrics]) -> list[tuple[str, ...]]:
    """The cells of METRICS: a row for each set of images, with all batch sizes for which its figures are the same."""
    found: dict[tuple[str, ...], list[str]] = {}
    for row in metrics:
        found.setdefault((row.images, *_figures(row)), []).append(str(row.batch_size))
    return [(images, ", ".join(sizes), *figures) for (images, *figures), sizes in found.items()]


def _figures(row: Metrics) -> tuple[str, ...]:
    return (
        f"{row.max_abs_error:.2g}",
        f"{row.p99_abs_error:.2g}",
        f"{row.error_of_spread:.1g}",
        "–" if row.units is None else f"{row.units:.2f}",
        f"{1 - row.cosine:.1g}",
        f"{row.kl_divergence:.1g}",
        f"{row.top1_agreement:.1%}",
        f"{row.top5_overlap:.1%}",
    )
