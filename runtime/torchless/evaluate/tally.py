"""How often a classifier is right on labelled images, which classes it gets wrong, and whether its probabilities can be
trusted.

docs/evaluate.md says how each figure is computed.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from typing import Any

from torchless.codec import encode
from torchless.engine.results import Result
from torchless.errors import ImageError
from torchless.evaluate.dataset import Dataset
from torchless.evaluate.intervals import Interval, wilson
from torchless.records import dataclass

TOP_K, BINS = 5, 15
_BOUNDS = tuple((number + 1) / BINS for number in range(BINS))  # bins are open below and closed above, as in the paper


@dataclass(frozen=True)
class Failure:
    """An image without an answer, and why."""

    image: str
    error: str


def none_evaluated(source: str, failed: Sequence[Failure]) -> ImageError:
    """The error where no image of the dataset `source` has an answer."""
    first = failed[0] if failed else Failure(source, "there is none")
    return ImageError(f"none of the {len(failed)} images could be evaluated; the first, {first.image}: {first.error}")


@dataclass(frozen=True)
class ClassFigures:
    """One class that has images: how many, how many of them were right, and how many images were assigned to it.

    `precision` is the share of the latter that is right; None if no image was assigned to it.
    """

    index: int
    label: str
    images: int
    correct: int
    predicted: int
    top1_error: Interval
    precision: float | None


@dataclass(frozen=True)
class Confusion:
    """How many images of class `target` were assigned to class `predicted`."""

    target: int
    predicted: int
    target_label: str
    predicted_label: str
    images: int


@dataclass(frozen=True)
class Bin:
    """The images whose best class has a probability above `low` and up to `high`: their mean, and the share that is
    right; None if there are none.
    """

    low: float
    high: float
    images: int
    confidence: float | None
    accuracy: float | None


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """The figures for `images` images; `failed` could not be evaluated, and no figure includes them. Shares and
    probabilities are between 0 and 1.

    `top5_error` is None for a model of 5 classes or fewer, for which it would always be 0. `classes` has those with
    images, by index; `confusions` has all, most frequent first. `ece` is the expected calibration error over `bins`,
    BINS equal ones (Guo et al., ICML 2017). `images_per_second` is from files to answers; None if all answers came from
    an earlier run. `answers` has the predicted class of each image, by its name.
    """

    images: int
    failed: tuple[Failure, ...]
    top1_error: Interval
    top5_error: Interval | None
    ece: float
    mean_confidence: float
    bins: tuple[Bin, ...]
    classes: tuple[ClassFigures, ...]
    confusions: tuple[Confusion, ...]
    images_per_second: float | None
    answers: Mapping[str, int] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds: all but `answers`, which are the rows."""
        return {item.name: encode(getattr(self, item.name)) for item in fields(self) if item.name != "answers"}


class Tally:
    """Counts the rows of a dataset's images as they come."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        self._targets = {example.name: example.target for example in dataset}
        self._pairs: Counter[tuple[int, int]] = Counter()
        self._bins = [_BinCount() for _ in range(BINS)]
        self._in_top = 0
        self._failed: list[Failure] = []
        self._answers: dict[str, int] = {}

    def add(self, row: Result) -> None:
        """Counts a row, which has the TOP_K best classes, or as many as the model has. Skips a row of an image outside
        the dataset.
        """
        name = row.image or ""
        if name not in self._targets:
            return
        if row.error is not None:
            self._failed.append(Failure(name, row.error))
            return
        target, best = self._targets[name], row.predictions[0]
        self._pairs[target, best.index] += 1
        self._in_top += any(prediction.index == target for prediction in row.predictions[:TOP_K])
        self._bins[min(BINS - 1, bisect_left(_BOUNDS, best.probability))].add(best.probability, best.index == target)
        self._answers[name] = best.index

    def evaluation(self, images_per_second: float | None) -> Evaluation:
        """The figures of all rows added. Raises ImageError if no row was right or wrong."""
        images = len(self._answers)
        if not images:
            raise none_evaluated(self._dataset.source, self._failed)
        correct = sum(count for (target, predicted), count in self._pairs.items() if target == predicted)
        return Evaluation(
            images=images,
            failed=tuple(self._failed),
            top1_error=wilson(images - correct, images),
            top5_error=wilson(images - self._in_top, images) if len(self._dataset.labels) > TOP_K else None,
            ece=sum(abs(count.correct - count.confidence) for count in self._bins) / images,
            mean_confidence=sum(count.confidence for count in self._bins) / images,
            bins=tuple(count.bin(number) for number, count in enumerate(self._bins)),
            classes=self._classes(),
            confusions=self._confusions(),
            images_per_second=images_per_second,
            answers=self._answers,
        )

    def _classes(self) -> tuple[ClassFigures, ...]:
        images: Counter[int] = Counter()
        predicted: Counter[int] = Counter()
        for (target, answer), count in self._pairs.items():
            images[target] += count
            predicted[answer] += count
        return tuple(self._class(index, images[index], predicted[index]) for index in sorted(images))

    def _class(self, index: int, images: int, predicted: int) -> ClassFigures:
        correct = self._pairs[index, index]
        precision = correct / predicted if predicted else None
        return ClassFigures(
            index, self._dataset.labels[index], images, correct, predicted, wilson(images - correct, images), precision
        )

    def _confusions(self) -> tuple[Confusion, ...]:
        labels, wrong = (
            self._dataset.labels,
            [(pair, count) for pair, count in self._pairs.items() if pair[0] != pair[1]],
        )
        wrong.sort(key=lambda item: (-item[1], item[0]))
        return tuple(
            Confusion(target, answer, labels[target], labels[answer], count) for (target, answer), count in wrong
        )


@dataclass
class _BinCount:
    images: int = 0
    correct: int = 0
    confidence: float = 0.0

    def add(self, confidence: float, correct: bool) -> None:
        self.images, self.correct, self.confidence = (
            self.images + 1,
            self.correct + correct,
            self.confidence + confidence,
        )

    def bin(self, number: int) -> Bin:
        bounds, images = (number / BINS, (number + 1) / BINS), self.images
        return Bin(
            *bounds, images, self.confidence / images if images else None, self.correct / images if images else None
        )
