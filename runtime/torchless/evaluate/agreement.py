"""Two models on the same images: how often they agree, and whether one of them is really better."""

from collections.abc import Mapping
from typing import Any

from torchless.codec import encode
from torchless.errors import UsageError
from torchless.evaluate.dataset import Dataset
from torchless.evaluate.intervals import Interval, mcnemar, wilson
from torchless.records import dataclass


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Two models' answers for the `images` that both could read. `same_answer` is the share for which their best
    classes are equal.

    `p_value` is that of McNemar's exact test: how likely it is that `only_first_right` and `only_second_right` differ
    at least this much if the two are equally good.
    """

    images: int
    same_answer: Interval
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    p_value: float

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds."""
        return dict(encode(self))


def compare_answers(dataset: Dataset, first: Mapping[str, int], second: Mapping[str, int]) -> Agreement:
    """Two models' Evaluation.answers on `dataset`. Raises UsageError if they share no image."""
    rows = [
        (first[item.name], second[item.name], item.target)
        for item in dataset
        if item.name in first and item.name in second
    ]
    if not rows:
        raise UsageError("there is no image that both models could evaluate")
    right = [(one == target, other == target) for one, other, target in rows]
    only_first, only_second = right.count((True, False)), right.count((False, True))
    return Agreement(
        images=len(rows),
        same_answer=wilson(sum(one == other for one, other, _ in rows), len(rows)),
        both_right=right.count((True, True)),
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=right.count((False, False)),
        p_value=mcnemar(only_first, only_second),
    )
