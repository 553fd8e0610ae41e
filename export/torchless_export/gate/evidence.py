"""Both sides on the test images: every image, at every batch size, each side with its own preprocessing."""

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from torchless.engine.classifier import Classifier, Prepared
from torchless.errors import InferenceError, UsageError
from torchless.model.manifest import ImageRecord
from torchless.progress import Advance, Bars, no_bars
from torchless.proof.answers import max_abs
from torchless_export.gate.limits import (
    ABSOLUTE_LIMIT,
    BATCH_SIZES,
    FLOAT32_STEP,
    MAX_UNITS,
    RELATIVE_LIMIT,
    VACUITY_FACTOR,
    Limits,
)
from torchless_export.gate.oracle import Oracle, Question, Rule
from torchless_export.sources.images import YOURS, TestImage
from torchless_export.sources.load import LoadedModel

_CHUNK = max(BATCH_SIZES)
_SMALLEST_UNIT = float(np.finfo(np.float32).tiny)  # of logits that are all 0

Logits = NDArray[np.float64]


@dataclass(frozen=True)
class SetEvidence:
    """One set of images: PyTorch's logits (N, classes), its own error on them, and ONNX Runtime's logits at each batch
    size.

    `thumbnails` are small JPEG files, one for each image, or none where nobody asked for them; `worst` is the image
    that is furthest from PyTorch when it runs alone.
    """

    records: tuple[ImageRecord, ...]
    thumbnails: tuple[bytes, ...]
    worst: TestImage
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

    @cached_property
    def spread(self) -> float:
        """The largest minus the smallest of PyTorch's logits on the gate's own images: the user's must not move its
        limits.
        """
        return float(self._own.max() - self._own.min())

    @cached_property
    def variation(self) -> float:
        """How much a logit moves between the gate's own images: the median over classes of its standard deviation."""
        return float(np.median(self._own.std(axis=0)))

    @property
    def variation_needed(self) -> float:
        """What it must be at least."""
        return VACUITY_FACTOR * max(self.limits(name).absolute for name in self.sets if name != YOURS)

    def limits(self, name: str) -> Limits:
        """The limit of the set's logits."""
        own_error = self.sets[name].own_error
        if own_error is None:
            return Limits(unit=ABSOLUTE_LIMIT + RELATIVE_LIMIT * self.spread, units=1.0)
        floor = FLOAT32_STEP * float(np.abs(self.sets[name].reference).max())
        return Limits(unit=max(own_error, floor, _SMALLEST_UNIT), units=MAX_UNITS)

    @property
    def images(self) -> int:
        return sum(len(found.reference) for found in self.sets.values())

    @cached_property
    def _own(self) -> Logits:
        return np.concatenate([found.reference for name, found in self.sets.items() if name != YOURS])


def gather(
    loaded: LoadedModel,
    classifier: Classifier,
    oracle: Oracle,
    sets: Mapping[str, Iterable[TestImage]],
    *,
    thumbnails: bool = False,
    bars: Bars = no_bars,
) -> Evidence:
    """Runs both sides, with only a few images in memory at a time. Raises TorchlessError where the runtime cannot run
    the file.
    """
    with bars(lambda: _total(sets))(0) as advance:
        found = {name: _gather(loaded, classifier, oracle, tests, thumbnails, advance) for name, tests in sets.items()}
    return Evidence(oracle.rule, oracle.reason, found)


def questions(loaded: LoadedModel, sets: Mapping[str, Iterable[TestImage]]) -> Iterator[Question]:
    """What gather() will put to PyTorch."""
    return (Question(_prepared(loaded, chunk)) for tests in sets.values() for chunk in _chunks(tests))


def _prepared(loaded: LoadedModel, tests: Sequence[TestImage]) -> torch.Tensor:
    """The batch as PyTorch's side prepares it."""
    return torch.stack([loaded.transform(test.image) for test in tests])


def _total(sets: Mapping[str, Iterable[TestImage]]) -> int | None:
    """How many images there are; None where only reading them would tell."""
    sizes = [len(tests) for tests in sets.values() if isinstance(tests, Sized)]
    return sum(sizes) if len(sizes) == len(sets) else None


def _gather(
    loaded: LoadedModel,
    classifier: Classifier,
    oracle: Oracle,
    tests: Iterable[TestImage],
    with_thumbnails: bool,
    advance: Advance,
) -> SetEvidence:
    records: list[ImageRecord] = []
    thumbnails: list[bytes] = []
    references: list[Logits] = []
    errors: list[float | None] = []
    sizes = (1,) if classifier.manifest.input.takes_pixels else BATCH_SIZES
    runs: dict[int, list[Logits]] = {size: [] for size in sizes}
    worst: tuple[float, TestImage] | None = None
    for chunk in _chunks(tests):
        records += [test.record for test in chunk]
        thumbnails += [test.thumbnail() for test in chunk if with_thumbnails]
        reference = oracle.reference(_prepared(loaded, chunk))
        references.append(reference.logits)
        advance(len(chunk) // 2)
        errors.append(reference.own_error)
        prepared = [classifier.preprocess(test.image) for test in chunk]
        for size, outputs in runs.items():
            outputs.append(_in_batches(classifier, prepared, size, reference.logits.shape))
        advance(len(chunk) - len(chunk) // 2)
        apart = [max_abs(got - wanted) for got, wanted in zip(runs[1][-1], reference.logits, strict=True)]
        furthest = int(np.argmax(apart))
        if worst is None or apart[furthest] > worst[0]:
            worst = apart[furthest], chunk[furthest]
    if worst is None:
        raise UsageError("a set of images is empty")
    own_error = None if None in errors else max(error for error in errors if error is not None)
    logits = {size: np.concatenate(outputs) for size, outputs in runs.items()}
    return SetEvidence(tuple(records), tuple(thumbnails), worst[1], np.concatenate(references), own_error, logits)


def _in_batches(classifier: Classifier, prepared: list[Prepared], size: int, shape: tuple[int, ...]) -> Logits:
    outputs = [classifier.run(prepared[i : i + size]) for i in range(0, len(prepared), size)]
    if any(
        len(output) != len(prepared[i * size : (i + 1) * size]) or output.shape[1:] != shape[1:]
        for i, output in enumerate(outputs)
    ):
        raise InferenceError(
            f"in batches of {size} the graph gives {outputs[0].shape}, PyTorch (images, "
            f"{', '.join(map(str, shape[1:]))})"
        )
    return np.concatenate(outputs).astype(np.float64)


def _chunks(tests: Iterable[TestImage]) -> Iterator[Sequence[TestImage]]:
    stream = iter(tests)
    while chunk := list(islice(stream, _CHUNK)):
        yield chunk
