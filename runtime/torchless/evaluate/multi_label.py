"""How good a multi-label model is: average precision, F1, precision and recall.

docs/evaluate.md says how each figure is computed.
"""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.codec import encode
from torchless.engine.results import Result
from torchless.evaluate.curves import Curves, f1
from torchless.evaluate.dataset import MultiLabelDataset
from torchless.evaluate.intervals import Interval
from torchless.evaluate.tally import Failure, none_evaluated
from torchless.records import dataclass


@dataclass(frozen=True)
class MultiLabelClassFigures:
    """One class: how many images have it, how many were given it (by `threshold`), and how many of them rightly.

    `average_precision` needs no threshold; it and `recall` are None for a class without images, `precision` for one
    that no image was given.
    """

    index: int
    label: str
    threshold: float
    images: int
    predicted: int
    correct: int
    average_precision: float | None
    f1: float
    precision: float | None
    recall: float | None


@dataclass(frozen=True, kw_only=True)
class MultiLabelEvaluation:
    """The figures for `images` images; `failed` could not be evaluated, and no figure includes them. All are between 0
    and 1.

    `mean_average_precision` and `f1_macro` are means over the classes that have images, `f1_micro` counts all classes'
    decisions together. `classes` has all, by index. `images_per_second` is from files to answers; None if all answers
    came from an earlier run.
    """

    images: int
    failed: tuple[Failure, ...]
    mean_average_precision: Interval
    f1_macro: Interval
    f1_micro: Interval
    classes: tuple[MultiLabelClassFigures, ...]
    images_per_second: float | None

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds."""
        return {item.name: encode(getattr(self, item.name)) for item in fields(self)}


class MultiLabelTally:
    """Keeps the probabilities in the rows of a dataset's images as they come: 9 bytes for each class of each image."""

    def __init__(self, dataset: MultiLabelDataset, thresholds: tuple[float, ...]) -> None:
        self._dataset, self._thresholds = dataset, thresholds
        self._targets = {example.name: example.targets for example in dataset}
        self._failed: list[Failure] = []
        self._truth: list[NDArray[np.bool_]] = []
        self._scores: list[NDArray[np.float64]] = []

    def add(self, row: Result) -> None:
        """Counts a row, which has all classes. Skips a row of an image outside the dataset."""
        name = row.image or ""
        if name not in self._targets:
            return
        if row.error is not None:
            self._failed.append(Failure(name, row.error))
            return
        truth, scores = np.zeros(len(self._thresholds), np.bool_), np.zeros(len(self._thresholds))
        truth[list(self._targets[name])] = True
        for prediction in row.predictions:
            scores[prediction.index] = prediction.probability
        self._truth.append(truth)
        self._scores.append(scores)

    def evaluation(self, images_per_second: float | None) -> MultiLabelEvaluation:
        """The figures of all rows added. Raises ImageError if there is none with an answer."""
        if not self._truth:
            raise none_evaluated(self._dataset.source, self._failed)
        truth, scores = np.stack(self._truth), np.stack(self._scores)
        curves = Curves(truth, scores, scores >= np.array(self._thresholds))
        mean_average_precision, macro, micro = curves.intervals()
        return MultiLabelEvaluation(
            images=len(truth),
            failed=tuple(self._failed),
            mean_average_precision=mean_average_precision,
            f1_macro=macro,
            f1_micro=micro,
            classes=self._classes(curves),
            images_per_second=images_per_second,
        )

    def _classes(self, curves: Curves) -> tuple[MultiLabelClassFigures, ...]:
        once = np.ones(len(self._truth))
        average, (have, given, right) = curves.average_precision(once), curves.counts(once)
        both = f1(have, given, right)
        return tuple(
            MultiLabelClassFigures(
                index=index,
                label=label,
                threshold=self._thresholds[index],
                images=int(have[index]),
                predicted=int(given[index]),
                correct=int(right[index]),
                average_precision=float(average[index]) if have[index] else None,
                f1=float(both[index]),
                precision=float(right[index] / given[index]) if given[index] else None,
                recall=float(right[index] / have[index]) if have[index] else None,
            )
            for index, label in enumerate(self._dataset.labels)
        )
