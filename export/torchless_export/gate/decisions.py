"""The gate of every artifact below float32: does it decide as the float model does? Logits cannot be equal; answers
can.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torchless.engine.head import Head
from torchless.evaluate.intervals import Interval, wilson
from torchless.evaluate.text import interval_text
from torchless.model.manifest import Check, Manifest, Parity
from torchless.proof.answers import noise
from torchless_export.gate.answers import answers, certainty
from torchless_export.gate.limits import LEAST_IMAGES, MAX_HALF_NOISE, MIN_AGREEMENT

SURE = 0.5  # a float answer of this probability or more is called sure

Logits = NDArray[np.floating]


@dataclass(frozen=True)
class Decisions:
    """`same` of `images` have the same answer (the best class, or all that are present); of `sure`, those of which the
    float model was sure, `sure_same` have.

    `surest_flip` is the highest probability that the float model gave an answer that changed, `noise` the root mean
    square of the logits' differences as a share of their standard deviation between images, `broken` how many images
    gave NaN or infinity, `classes` how many different answers the float model gave. `multi_label` says which kind of
    answers.
    """

    images: int
    same: int
    sure: int
    sure_same: int
    surest_flip: float
    noise: float
    broken: int
    classes: int
    multi_label: bool = False

    @property
    def agreement(self) -> Interval:
        return wilson(self.same, self.images)

    def __str__(self) -> str:
        sure = f"; {self.sure_same} of the {self.sure} that the float model is sure of" if self.sure else ""
        answer = "classes" if self.multi_label else "top-1"
        return f"same {answer} on {interval_text(self.agreement)} of {self.images} images{sure}"


def decide(wanted: Logits, got: Logits, head: Head) -> Decisions:
    """Two models' outputs, (N, outputs) each, of the same images; N is at least 1. `head` is that of both."""
    broken = ~np.isfinite(got).all(axis=1)
    probability, best = certainty(head, wanted), answers(head, wanted)
    same = (answers(head, np.where(np.isfinite(got), got, 0)) == best).all(axis=1) & ~broken
    sure = probability >= SURE
    return Decisions(
        images=len(wanted),
        same=int(same.sum()),
        sure=int(sure.sum()),
        sure_same=int((same & sure).sum()),
        surest_flip=float(probability[~same].max(initial=0.0)),
        noise=noise(wanted, got),
        broken=int(broken.sum()),
        classes=len(np.unique(best, axis=0)),
        multi_label=head.multi_label,
    )


def checks(
    found: Decisions, min_agreement: float, *, least_images: int = LEAST_IMAGES, more_broken: int = 0
) -> Iterator[Check]:
    """The figures against their limits. With `least_images` 0 a few images are enough; then only a difference beyond
    doubt fails.

    `more_broken` counts answers of NaN or infinity that were seen elsewhere.
    """
    limit = round(1 - min_agreement, 6)
    broken = max(found.broken, more_broken)
    yield Check(name="finite", passed=broken == 0, figure=broken, limit=0, detail="answers of NaN or infinity")
    if least_images:
        detail = "test images; none was calibrated on"
        yield Check(
            name="images", passed=found.images >= least_images, figure=found.images, limit=least_images, detail=detail
        )
        yield Check(
            name="answers",
            passed=found.classes > 1,
            figure=found.classes,
            limit=2,
            detail="different answers of the float model",
        )
    differing = 1 - found.agreement.value
    surely_more = 1 - found.agreement.high > limit
    passed = differing <= limit + 1e-9 if least_images else not surely_more
    yield Check(name="decision", passed=passed, figure=differing, limit=limit, detail=str(found))


def check_batching(alone: Logits, together: Logits, head: Head) -> Check:
    """Whether an image's answer depends on those that run with it."""
    differing = int((answers(head, alone) != answers(head, together)).any(axis=1).sum())
    return Check(
        name="batching",
        passed=differing == 0,
        figure=differing,
        limit=0,
        detail="images whose answer depends on the batch size",
    )


def check_noise(found: Decisions) -> Check:
    """float16 keeps 11 bits: far less than this may be lost."""
    detail = "of the logits' standard deviation between images"
    return Check(
        name="noise", passed=found.noise <= MAX_HALF_NOISE, figure=found.noise, limit=MAX_HALF_NOISE, detail=detail
    )


def sealed_limit(manifest: Manifest) -> float:
    """The least agreement that the artifact was made with."""
    made = manifest.parity.checks if manifest.parity is not None else ()
    return next((1 - check.limit for check in made if check.name == "decision"), MIN_AGREEMENT)


def verdict(found: Decisions, made: list[Check], max_abs_error: float) -> Parity:
    """What the manifest keeps of the gate."""
    return Parity(
        passed=all(check.passed for check in made),
        checks=tuple(made),
        max_abs_error=max_abs_error,
        images=found.images,
        rule="decisions",
    )
