"""What the batcher passes along: jobs and logits, and what it needs of a model and of whoever counts."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

Tensor = NDArray[np.float32]
Prepared = NDArray[np.float32 | np.uint8]  # an image as the model takes it
Source = bytes | Prepared  # an image as a request brings it: encoded, or prepared


class Runnable(Protocol):
    """A model to the batcher: torchless.serve.models.ServedModel, or a double of it in tests."""

    @property
    def name(self) -> str: ...

    @property
    def exclusive(self) -> bool:
        """Whether one batch at a time is best, as on a GPU."""

    def decode(self, data: bytes) -> Image: ...

    def prepare(self, rgb: Image) -> Prepared: ...

    def run(self, batch: Sequence[Prepared], *, alone: bool) -> Tensor:
        """What `prepare` gave for each image → (N, classes).

        `alone` says that no other image is in the server, so that this one may take all processors.
        """


@dataclass(slots=True)
class Timings:
    """Where an image's time went, in seconds; `queue` is all its waiting, `inference` the whole batch's run."""

    queue: float = 0.0
    decode: float = 0.0
    preprocess: float = 0.0
    inference: float = 0.0


@dataclass(frozen=True, slots=True)
class ImageLogits:
    """One image's logits, float32 (classes,), and how they were made."""

    logits: Tensor
    timings: Timings
    batch_size: int


Outcome = ImageLogits | Exception


@dataclass(eq=False, slots=True)
class Job:
    """One image on its way. `data` are an encoded image's bytes, or None when it comes as the tensor that the model takes."""

    model: Runnable
    data: bytes | None
    tensor: Prepared | None
    future: "asyncio.Future[ImageLogits]"
    waiting_since: float
    timings: Timings = field(default_factory=Timings)


class Watcher(Protocol):
    """Who counts: torchless.serve.metrics.Metrics."""

    def queue_changed(self, waiting: int) -> None: ...

    def batch_done(self, model: str, size: int) -> None: ...

    def image_done(self, model: str, outcome: Outcome, timings: Timings) -> None: ...


def bucket_sizes(max_batch_size: int) -> list[int]:
    """1, 2, 4, … and the maximum."""
    sizes = [1 << power for power in range(max_batch_size.bit_length())]
    return sizes if sizes[-1] == max_batch_size else [*sizes, max_batch_size]
