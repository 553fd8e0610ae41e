"""The figures of a multi-label model, as scikit-learn defines them: average precision, F1, and their intervals.

Arrays are (images, classes): `truth` 0 or 1, `scores` probabilities, `said` 0 or 1. Weights say how often each image
counts, so that a bootstrap's draw is a row of weights.
"""

import numpy as np
from numpy.typing import NDArray

from torchless.evaluate.intervals import Interval
from torchless.records import dataclass

DRAWS, LEAST_DRAWS, SEED = 1000, 100, 0
# Numbers that a bootstrap goes through at most, if that leaves it LEAST_DRAWS: some ten seconds.
_MOST_NUMBERS = 400_000_000

Truth = NDArray[np.bool_]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Summary:
    """One figure for all classes each, between 0 and 1; classes without images are left out of the means."""

    mean_average_precision: float
    f1_macro: float
    f1_micro: float


class Curves:
    """The images of all classes, each class's sorted once."""

    def __init__(self, truth: Truth, scores: Floats, said: Truth) -> None:
        self.truth, self.said = truth, said
        self._order = np.argsort(-scores, axis=0, kind="stable")
        ranked = np.take_along_axis(scores, self._order, axis=0)
        self._ranked_truth = np.take_along_axis(truth, self._order, axis=0)
        # Images of equal scores are found together: precision counts where a score ends.
        self._ends = np.append(ranked[1:] != ranked[:-1], np.ones((1, truth.shape[1]), np.bool_), axis=0)

    def average_precision(self, weights: Floats) -> Floats:
        """sklearn.metrics.average_precision_score of each class, (classes,), given how often each image counts,
        (images,); NaN for a class without images.
        """
        all_found = np.cumsum(weights[self._order], axis=0)
        found = np.cumsum(weights[self._order] * self._ranked_truth, axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):
            precision = np.nan_to_num(found / all_found)
            at_end = np.where(self._ends, found, 0.0)
            before = np.vstack([np.zeros((1, found.shape[1])), np.maximum.accumulate(at_end, axis=0)[:-1]])
            gained = np.where(self._ends, found - before, 0.0)
            average: Floats = (gained * precision).sum(axis=0) / found[-1]
        return average

    def counts(self, weights: Floats) -> tuple[Floats, Floats, Floats]:
        """(images that have a class, that were given it, of which rightly), each (classes,)."""
        return weights @ self.truth, weights @ self.said, weights @ (self.truth & self.said)

    def summary(self, weights: Floats) -> Summary:
        """The figures for all classes, given how often each image counts, (images,)."""
        have, given, right = self.counts(weights)
        known = have > 0
        if not known.any():
            return Summary(0.0, 0.0, 0.0)
        return Summary(
            mean_average_precision=float(self.average_precision(weights)[known].mean()),
            f1_macro=float(f1(have, given, right)[known].mean()),
            f1_micro=float(f1(have.sum(), given.sum(), right.sum())),
        )

    def intervals(self) -> tuple[Interval, Interval, Interval]:
        """Mean average precision, macro F1 and micro F1, each with the interval that holds the middle 95 % of a
        bootstrap's draws: as many images as there are, drawn with replacement, from a fixed seed.
        """
        images = len(self.truth)
        draws = int(max(LEAST_DRAWS, min(DRAWS, _MOST_NUMBERS // max(1, self.truth.size))))
        random = np.random.RandomState(SEED)  # the generator whose draws NumPy promises to keep
        drawn = [
            self.summary(np.bincount(random.randint(0, images, images), minlength=images).astype(np.float64))
            for _ in range(draws)
        ]
        whole = self.summary(np.ones(images))
        return (
            _interval(whole.mean_average_precision, [each.mean_average_precision for each in drawn]),
            _interval(whole.f1_macro, [each.f1_macro for each in drawn]),
            _interval(whole.f1_micro, [each.f1_micro for each in drawn]),
        )


def f1(have: Floats, given: Floats, right: Floats) -> Floats:
    """Of counts, as sklearn.metrics.f1_score with zero_division=0."""
    both = np.asarray(have + given)
    return np.asarray(np.divide(2 * right, both, out=np.zeros_like(both, np.float64), where=both > 0))


def _interval(value: float, drawn: list[float]) -> Interval:
    low, high = np.percentile(drawn, [2.5, 97.5])
    return Interval(value, min(value, float(low)), max(value, float(high)))
