"""The check `expected`: from the image file to the probability, does the artifact give what the user's own program
gives?

Both sides compute in float32, so each may be off by what the gate allows (export/torchless_export/gate/limits.py).
"""

from collections.abc import Iterator

import numpy as np

from torchless.engine.classifier import Classifier
from torchless.engine.head import Head
from torchless.errors import ImageError, UsageError
from torchless.expected.answers import Expected, Rows
from torchless.expected.causes import Case, Network, are_probabilities, as_recorded, likely_cause
from torchless.model.manifest import Check, Manifest, Parity
from torchless.records import dataclass

# Two float32 results may each be five of PyTorch's own rounding errors from what is right.
MAX_UNITS = 10.0
FLOAT32_STEP = 2.0**-23
# Where no unit was measured, a logit may differ by this share of the logits' spread, plus this much in any case.
RELATIVE_LIMIT, ABSOLUTE_LIMIT = 1e-4, 2e-6
# Preprocessing inside the graph may differ by 1/255 in some values.
IN_GRAPH_LIMIT = 1e-2
# Probabilities are rounded to float32 by the user's program.
PROBABILITY_STEP = 1e-6


@dataclass(frozen=True)
class _Limits:
    """`logits` is how far one may be off, None where only the answer counts; `images` how many images may be wrong."""

    logits: float | None
    images: int
    words: str

    @property
    def probabilities(self) -> float | None:
        """The slope of softmax and sigmoid is half at most."""
        return None if self.logits is None else self.logits / 2 + PROBABILITY_STEP


def check_expected(
    classifier: Classifier,
    expected: Expected,
    *,
    parity: Parity | None = None,
    network: Network | None = None,
    explain: bool = True,
) -> Check:
    """How many images get another answer from `classifier` than in `expected`; the detail of a failure names the likely
    cause.

    `parity` is the verdict that says PyTorch's own rounding error, by default that in the manifest. `network` runs
    prepared images of any size, to look for the cause; by default the classifier runs those of its own size. Without
    `explain` no cause is looked for. Raises UsageError for an image that cannot be read.
    """
    got = outputs(classifier, expected)
    if got.shape != expected.logits.shape:
        detail = (
            f"{expected.path} has {expected.logits.shape[1]} logits for an image, the model {got.shape[1]}; likely "
            "cause: the architecture, or the checkpoint of another model"
        )
        return Check(name="expected", passed=False, figure=len(expected.rows), limit=0, detail=detail)
    limits = _limits(classifier.manifest, parity or classifier.manifest.parity, expected)
    wrong = {number: reason for number, reason in enumerate(_reasons(classifier, expected, got, limits)) if reason}
    count = len(expected.rows)
    if len(wrong) <= limits.images:
        detail = f"{count} images of {expected.path.name}, {limits.words}{_not_compared(expected)}"
        return Check(name="expected", passed=True, figure=len(wrong), limit=limits.images, detail=detail)
    first = min(wrong)
    detail = (
        f"{len(wrong)} of {count} images of {expected.path.name}, first {expected.rows[first].image}: {wrong[first]}"
    )
    if explain:
        detail += f"; likely cause: {likely_cause(Case(classifier, expected, got, limits.logits, network))}"
    return Check(name="expected", passed=False, figure=len(wrong), limit=limits.images, detail=detail)


def outputs(classifier: Classifier, expected: Expected) -> Rows:
    """What the classifier gives for each image, alone, (images, outputs)."""
    rows = []
    for number, row in enumerate(expected.rows):
        try:
            rows.append(classifier.logits([expected.image(number)])[0])
        except ImageError as error:
            raise UsageError(f"{expected.path}: image {row.image}: {error}") from None
    return np.array(rows, np.float64)


def _limits(manifest: Manifest, parity: Parity | None, expected: Expected) -> _Limits:
    if manifest.precision != "fp32":
        allowed = _share_allowed(parity)
        words = f"the same answers, but for {allowed:.0%} of them"
        return _Limits(None, 1 + int(allowed * len(expected.rows)), words)
    spread = float(np.ptp(expected.logits))
    if manifest.input.takes_pixels:
        limit = IN_GRAPH_LIMIT * spread
    else:
        unit = _unit(parity, expected, spread)
        limit = ABSOLUTE_LIMIT + RELATIVE_LIMIT * spread if unit is None else MAX_UNITS * unit
    return _Limits(limit, 0, f"logits within {limit:.2g}")


def _unit(parity: Parity | None, expected: Expected, spread: float) -> float | None:
    """PyTorch's own rounding error on logits of that spread, from what the gate measured; None if it did not."""
    errors = [row.own_error for row in parity.metrics if row.own_error is not None] if parity is not None else []
    if not errors or parity is None or not parity.spread:
        return None
    return max(max(errors) * max(1.0, spread / parity.spread), FLOAT32_STEP * float(np.abs(expected.logits).max()))


def _share_allowed(parity: Parity | None) -> float:
    made = parity.checks if parity is not None else ()
    return next((check.limit for check in made if check.name == "decision"), 0.0)


def _reasons(classifier: Classifier, expected: Expected, got: Rows, limits: _Limits) -> Iterator[str]:
    """For each image what is wrong, "" for nothing."""
    head = classifier.head
    found, twice = head.probabilities(got), list(_activated_twice(head, expected.logits, got, limits.logits))
    for number, row in enumerate(expected.rows):
        reasons = [
            *_logits_wrong(head, expected.logits[number], got[number], limits.logits),
            *_probabilities_wrong(head, row.probabilities, found[number], limits.probabilities),
            *_label_wrong(row.label, found[number], classifier.labels, limits.probabilities),
            *twice,
        ]
        yield "; ".join(reasons)


def _logits_wrong(head: Head, wanted: Rows, got: Rows, limit: float | None) -> Iterator[str]:
    first, right = (head.labels[int(head.scores(row).argmax())] for row in (got, wanted))
    other = f"{first!r} is first, not {right!r}" * (first != right)
    if limit is None:
        yield from [other] if other else []
    elif not (apart := float(np.abs(got - wanted).max())) <= limit:  # NaN is not
        yield f"logits up to {apart:.3g} apart, the limit is {limit:.2g}" + f", and {other}" * bool(other)


def _activated_twice(head: Head, wanted: Rows, got: Rows, limit: float | None) -> Iterator[str]:
    """The outputs are right, but they are no logits."""
    right = limit is not None and bool((np.abs(got - wanted) <= limit).all())
    if right and head.activation != "none" and are_probabilities(wanted):
        yield f"{head.activation} of what is a probability already"


def _probabilities_wrong(
    head: Head, wanted: tuple[float, ...] | None, found: Rows, limit: float | None
) -> Iterator[str]:
    if wanted is None or limit is None:
        return
    got = as_recorded(head, found, len(wanted))
    if len(wanted) != len(got):
        yield f"{len(got)} probabilities, not {len(wanted)}"
    elif not (apart := float(np.abs(got - np.array(wanted)).max())) <= limit:
        yield f"probabilities up to {apart:.3g} apart"


def _label_wrong(wanted: str | None, got: Rows, labels: tuple[str, ...], limit: float | None) -> Iterator[str]:
    """Of classes that are nearly as probable as the best, any may be named."""
    if wanted is None:
        return
    best = [labels[i] for i in np.flatnonzero(got >= got.max() - 2 * (limit or 0.0))]
    if wanted not in best:
        yield f"it is {best[0]!r} here, not {wanted!r}"


def _not_compared(expected: Expected) -> str:
    missing = [name for name in ("probabilities", "labels") if getattr(expected, name) is None]
    return f"; the file has no {' and no '.join(missing)}, so these are not compared" if missing else ""
