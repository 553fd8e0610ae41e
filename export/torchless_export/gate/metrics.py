"""The figures that describe how far two sets of logits are apart, one row for each set of images and batch size."""

from collections.abc import Iterator

import numpy as np

from torchless.engine.head import softmax
from torchless.model.manifest import Metrics
from torchless.proof.answers import best, max_abs
from torchless_export.gate.evidence import Evidence, Logits, SetEvidence


def measure(evidence: Evidence) -> tuple[Metrics, ...]:
    """Every set at every batch size. Figures with a NaN in them are infinite; agreement counts it as disagreement."""
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        return tuple(_rows(evidence))


def _rows(evidence: Evidence) -> Iterator[Metrics]:
    for name, found in evidence.sets.items():
        unit = evidence.limits(name).unit if found.own_error is not None else None
        for size in found.runs:
            yield _row(name, size, found, unit, evidence.spread)


def _row(name: str, batch_size: int, found: SetEvidence, unit: float | None, spread: float) -> Metrics:
    wanted, got = found.reference, found.runs[batch_size]
    worst = max_abs(got - wanted)
    return Metrics(
        images=name,
        batch_size=batch_size,
        max_abs_error=worst,
        p99_abs_error=_finite(np.percentile(np.abs(got - wanted), 99)),
        error_of_spread=worst / spread if spread else float("inf"),
        own_error=found.own_error,
        units=worst / unit if unit else None,
        cosine=float(np.nan_to_num(_cosine(wanted, got).min(), nan=-1.0)),
        kl_divergence=_finite(kl_divergence(wanted, got).max()),
        top1_agreement=float((wanted.argmax(axis=1) == got.argmax(axis=1)).mean()),
        top5_overlap=float(np.mean([_overlap(ours, theirs) for ours, theirs in zip(wanted, got, strict=True)])),
    )


def kl_divergence(wanted: Logits, got: Logits) -> Logits:
    """For each image, in nats, how much softmax(got) loses of softmax(wanted); float64 (N,). 0 for the same
    distribution.
    """
    shift = got.max(axis=1, keepdims=True)
    log_got = got - shift - np.log(np.exp(got - shift).sum(axis=1, keepdims=True))
    shift = wanted.max(axis=1, keepdims=True)
    log_wanted = wanted - shift - np.log(np.exp(wanted - shift).sum(axis=1, keepdims=True))
    divergence: Logits = (softmax(wanted) * (log_wanted - log_got)).sum(axis=1)
    return np.maximum(divergence, 0.0)  # rounding may take it below


def _cosine(wanted: Logits, got: Logits) -> Logits:
    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    cosines: Logits = (wanted * got).sum(axis=1) / np.where(lengths == 0, 1.0, lengths)
    return cosines


def _overlap(wanted: Logits, got: Logits) -> float:
    ours = set(best(wanted))
    return len(ours & set(best(got))) / len(ours)


def _finite(value: float) -> float:
    return float(value) if value == value else float("inf")
