"""Both sides over the images that judge: every image, at every batch size, each side with its own preprocessing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from torchless.classifier import Classifier
from torchless.manifest import JudgeImage
from torchless_export.judges import Judge
from torchless_export.parity.limits import (
    ABSOLUTE_LIMIT,
    BATCH_SIZES,
    FLOAT32_STEP,
    MAX_UNITS,
    RELATIVE_LIMIT,
    Limits,
)
from torchless_export.parity.oracle import Oracle, Rule
from torchless_export.sources import LoadedModel

_CHUNK = max(BATCH_SIZES)

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class SetEvidence:
    """One set of images: PyTorch's logits (N, classes), its own error on them, and ONNX Runtime's logits at each batch size."""

    judges: tuple[JudgeImage, ...]
    reference: Logits
    own_error: float | None
    runs: Mapping[int, Logits]

    def error(self, batch_size: int) -> float:
        """The largest difference from PyTorch; infinite where there is a NaN."""
        return max_abs(self.runs[batch_size] - self.reference)

    @property
    def max_abs_error(self) -> float:
        return max(self.error(size) for size in self.runs)

    @property
    def batching_error(self) -> float:
        """The largest difference between images in a batch and the same images one at a time."""
        return max(max_abs(run - self.runs[1]) for run in self.runs.values())


@dataclass(frozen=True)
class Evidence:
    """All sets by name: "random", "photos", and "yours" where the user brought images."""

    rule: Rule
    reason: str | None
    sets: Mapping[str, SetEvidence]

    @property
    def spread(self) -> float:
        """The largest minus the smallest of PyTorch's logits."""
        everything = self._all()
        return float(everything.max() - everything.min())

    @property
    def variation(self) -> float:
        """How much a logit moves from image to image: the median over classes of its standard deviation."""
        return float(np.median(self._all().std(axis=0)))

    def limits(self, name: str) -> Limits:
        """The limit of the set's logits."""
        own_error = self.sets[name].own_error
        if own_error is None:
            return Limits(unit=ABSOLUTE_LIMIT + RELATIVE_LIMIT * self.spread, units=1.0)
        return Limits(unit=max(own_error, FLOAT32_STEP * float(np.abs(self.sets[name].reference).max())), units=MAX_UNITS)

    @property
    def images(self) -> int:
        return sum(len(found.reference) for found in self.sets.values())

    def _all(self) -> Logits:
        return np.concatenate([found.reference for found in self.sets.values()])


def gather(loaded: LoadedModel, classifier: Classifier, oracle: Oracle, sets: Mapping[str, Iterable[Judge]]) -> Evidence:
    """Runs both sides; only a few images are held at a time. Raises TorchlessError where the runtime cannot run the file."""
    return Evidence(oracle.rule, oracle.reason, {name: _gather(loaded, classifier, oracle, judges) for name, judges in sets.items()})


def _gather(loaded: LoadedModel, classifier: Classifier, oracle: Oracle, judges: Iterable[Judge]) -> SetEvidence:
    told: list[JudgeImage] = []
    references: list[Logits] = []
    errors: list[float | None] = []
    runs: dict[int, list[Logits]] = {size: [] for size in BATCH_SIZES}
    for chunk in _chunks(judges):
        told += [judge.told for judge in chunk]
        answer = oracle.answer(torch.stack([loaded.transform(judge.image) for judge in chunk]))
        references.append(answer.logits)
        errors.append(answer.own_error)
        prepared = np.stack([classifier.preprocess(judge.image) for judge in chunk])
        for size, outputs in runs.items():
            outputs += [classifier.run(prepared[i : i + size]).astype(np.float64) for i in range(0, len(prepared), size)]
    own_error = None if None in errors else max(error for error in errors if error is not None)
    return SetEvidence(tuple(told), np.concatenate(references), own_error, {size: np.concatenate(outputs) for size, outputs in runs.items()})


def _chunks(judges: Iterable[Judge]) -> Iterator[Sequence[Judge]]:
    stream = iter(judges)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk


def max_abs(difference: NDArray[np.floating]) -> float:
    """The largest absolute value; NaN, where there is one, counts as infinite."""
    worst = float(np.abs(difference).max(initial=0.0))
    return worst if worst == worst else float("inf")
