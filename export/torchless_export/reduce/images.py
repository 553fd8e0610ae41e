"""The images of a reduction: some set the scales of int8, others judge. No image does both."""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from torchless.batch.inputs import check, expand
from torchless.engine.classifier import Classifier
from torchless.errors import UsageError
from torchless.model.manifest import ImageSet
from torchless_export.sources.images import Judge, from_inputs

Batch = NDArray[np.float32]


@dataclass
class Images:
    """Where the images come from: files, folders, globs, … as `infer` takes them. `judge` may be left out: then every second image of
    `calibration`, by the order of their files' SHA-256, judges instead of calibrating.

    `failures` has a line for each image that could not be used.
    """

    calibration: Sequence[str] = ()
    judge: Sequence[str] = ()
    recursive: bool = False
    failures: list[str] = field(default_factory=list)

    def check(self) -> None:
        """Raises UsageError for arguments that cannot be images, without opening one."""
        check([*self.calibration, *self.judge])

    def to_calibrate(self, classifier: Classifier, most: int) -> list[Judge]:
        """At most `most` images for the scales, chosen by their SHA-256, hence the same whatever their names."""
        found = {judge.told.sha256: judge for judge in self._read(self.calibration, classifier)}
        if not found:
            raise UsageError(f"none of the calibration images can be used{f': {self.failures[0]}' if self.failures else ''}")
        chosen = sorted(found) if self.judge else sorted(found)[::2]
        return [found[digest] for digest in chosen[:most]]

    def to_judge(self, classifier: Classifier, calibrated: Iterable[Judge], most: int) -> Iterator[Judge]:
        """At most `most` images that are not, nor are a copy of, those in `calibrated`, read as they are needed."""
        seen = {judge.told.sha256 for judge in calibrated}
        return islice(self._unseen(self._read(self.judge or self.calibration, classifier), seen), most)

    def _unseen(self, judges: Iterator[Judge], seen: set[str]) -> Iterator[Judge]:
        for judge in judges:
            if judge.told.sha256 not in seen:
                seen.add(judge.told.sha256)
                yield judge

    def _read(self, arguments: Sequence[str], classifier: Classifier) -> Iterator[Judge]:
        failures: list[str] = []
        yield from from_inputs(expand(arguments, recursive=self.recursive), classifier.manifest.preprocess, failures=failures)
        self.failures += [line for line in failures if line not in self.failures]


def prepared(classifier: Classifier, judges: Iterable[Judge]) -> Iterator[Batch]:
    """Each image as the model takes it, (1, 3, crop, crop), by the runtime's own preprocessing."""
    return (np.asarray(classifier.preprocess(judge.image)[None], dtype=np.float32) for judge in judges)


def image_set(digests: Iterable[str]) -> ImageSet:
    """What the manifest says of images whose files have these SHA-256."""
    ordered = sorted(digests)
    return ImageSet(images=len(ordered), sha256=hashlib.sha256("".join(f"{digest}\n" for digest in ordered).encode()).hexdigest())
