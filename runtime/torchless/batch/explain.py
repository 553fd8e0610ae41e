"""What `infer --explain` says: what the model is, and what is done to each image on its way to it."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from torchless.batch.stamps import stamp_of
from torchless.engine.results import Input
from torchless.image.preprocess import sizes_text
from torchless.model.explanation import explanation
from torchless.text import printable

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier


def explain(classifier: "Classifier", inputs: Iterable[Input], tell: Callable[[str], None]) -> Iterator[Input]:
    """The inputs; `tell` gets the model's explanation, and each image's sizes when its turn comes."""
    tell(explanation(classifier.manifest))
    for item in inputs:
        yield replace(item, image=_Told(classifier, item, tell)) if item.image is not None else item


class _Told:
    """An input's image, decoded; when it is fetched, its sizes are told."""

    def __init__(self, classifier: "Classifier", item: Input, tell: Callable[[str], None]) -> None:
        self._classifier, self._item, self._tell = classifier, item, tell
        self.stamp = stamp_of(item)

    def __call__(self) -> NDArray[np.uint8]:
        """RGB pixels, uint8 (height, width, 3). Raises ImageError."""
        image = self._item.image() if callable(self._item.image) else self._item.image
        assert image is not None
        rgb = self._classifier.decode(image)
        name = printable(self._item.name or "image")
        self._tell(f"{name}: {sizes_text(rgb.width, rgb.height, self._classifier.manifest.preprocess)}")
        return np.asarray(rgb)  # not the image itself, whose EXIF would turn it once more
