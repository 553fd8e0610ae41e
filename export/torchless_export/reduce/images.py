"""Images for quantize: some set the scales of int8, others are test images. No image is both."""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NoReturn

import numpy as np
from numpy.typing import NDArray

from torchless.batch.inputs import STDIN, check, expand, may_be_remote
from torchless.batch.passed_over import PassedOver
from torchless.engine.classifier import Classifier
from torchless.errors import UsageError
from torchless.model.manifest import ImageSet
from torchless_export.sources.images import TestImage, from_inputs

Batch = NDArray[np.float32]


@dataclass
class ImageSplit:
    """Where the images come from: files, folders, globs, … as `infer` takes them. Without `test_images`, every second
    image of `calibration`, by the order of their files' SHA-256, is a test image instead.

    `failures` has a line for each image that could not be used, and for other files. `parameter` is what the caller's
    user knows `calibration` as: messages name it.
    """

    calibration: Sequence[str] = ()
    test_images: Sequence[str] = ()
    recursive: bool = False
    failures: list[str] = field(default_factory=list)
    parameter: Literal["calibration", "images"] = "calibration"

    def check(self, least: int, *, calibrated: bool) -> None:
        """Opens no image. Raises UsageError for arguments that cannot be images, and where they lead to fewer than
        `least` test images; `calibrated`: whether others are needed for the scales. MissingDependencyError as infer.
        """
        check([*self.calibration, *self.test_images])
        given = list(self.test_images or self.calibration)
        shared = calibrated and not self.test_images
        found = self._listed(given, most=2 * least)
        if found and found < (2 * least if shared else least):
            self._too_few(found, least, shared=shared)

    def _listed(self, given: Sequence[str], most: int) -> int | None:
        """How many there are, up to `most`; None if only reading them would tell."""
        if any(argument == STDIN or may_be_remote(argument) for argument in given):
            return None
        listed = islice(expand(given, recursive=self.recursive), most)
        return sum(isinstance(item.image, str) and os.path.lexists(item.image) for item in listed)

    def _too_few(self, found: int, least: int, *, shared: bool) -> NoReturn:
        if shared:
            others = "; or others to `test_images`" if self.parameter == "calibration" else ""
            raise UsageError(
                f"too few images, {found}: half of them set the scales, and on the others, at least {least}, both "
                f"files' answers are compared; give {2 * least} or more to `{self.parameter}`{others}"
            )
        name = "test_images" if self.test_images else self.parameter
        raise UsageError(
            f"too few test images, {found}: both files' answers are compared on at least {least} that no scale was set "
            f"on; give more to `{name}`"
        )

    def check_left(self, classifier: Classifier, calibrated: Sequence[TestImage], least: int) -> None:
        """Raises UsageError where fewer than `least` test images are left of those that can be read and differ."""
        left = sum(1 for _ in self.to_test(classifier, calibrated, least))
        if left < least:
            shared = not self.test_images
            self._too_few(left + len(calibrated) * shared, least, shared=shared)

    def to_calibrate(self, classifier: Classifier, most: int) -> list[TestImage]:
        """At most `most` images for the scales, chosen by their SHA-256, so that their names do not matter."""
        found = {image.record.sha256: image for image in self._read(self.calibration, classifier)}
        if not found:
            raise UsageError(
                f"none of the images to calibrate on can be used{f': {self.failures[0]}' if self.failures else ''}"
            )
        chosen = sorted(found) if self.test_images else sorted(found)[::2]
        return [found[digest] for digest in chosen[:most]]

    def to_test(self, classifier: Classifier, calibrated: Iterable[TestImage], most: int) -> Iterator[TestImage]:
        """At most `most` images, none of them in `calibrated` nor a copy of one, read one at a time."""
        seen = {image.record.sha256 for image in calibrated}
        return islice(self._unseen(self._read(self.test_images or self.calibration, classifier), seen), most)

    def _unseen(self, images: Iterator[TestImage], seen: set[str]) -> Iterator[TestImage]:
        for image in images:
            if image.record.sha256 not in seen:
                seen.add(image.record.sha256)
                yield image

    def _read(self, arguments: Sequence[str], classifier: Classifier) -> Iterator[TestImage]:
        failures: list[str] = []
        passed_over = PassedOver()
        inputs = expand(arguments, recursive=self.recursive, passed_over=passed_over)
        yield from from_inputs(inputs, classifier.manifest.preprocess, failures=failures)
        self.failures += [line for line in [*failures, *passed_over.lines()] if line not in self.failures]


def prepared(classifier: Classifier, images: Iterable[TestImage]) -> Iterator[Batch]:
    """Each image as the model takes it, (1, 3, crop, crop), by the runtime's own preprocessing."""
    return (np.asarray(classifier.preprocess(each.image)[None], dtype=np.float32) for each in images)


def image_set(digests: Iterable[str]) -> ImageSet:
    """What the manifest says of images whose files have these SHA-256."""
    ordered = sorted(digests)
    return ImageSet(
        images=len(ordered), sha256=hashlib.sha256("".join(f"{digest}\n" for digest in ordered).encode()).hexdigest()
    )
