"""What the batcher passes along (jobs and logits), and what it needs of a model and of a counter."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image

from torchless.image.decode import Decoded

Tensor = NDArray[np.float32]
Prepared = NDArray[np.float32 | np.uint8]  # an image as the model takes it
Source = bytes | Prepared  # an image as a request brings it: encoded, or prepared


class Worked(NamedTuple):
    """What another process made of an encoded image: its logits, float32 (classes,), the seconds that it waited for
    others and that each stage took, how many images ran together, and the image's warning.
    """

    logits: Tensor
    queue_s: float
    decode_s: float
    preprocess_s: float
    inference_s: float
    batch_size: int
    warning: str | None


Apart = Callable[[Sequence[bytes]], Sequence[Worked | Exception] | None]


class Runnable(Protocol):
    """What the batcher needs of a model: torchless.serve.models.ServedModel, or a double of it in tests."""

    apart: Apart | None
    """Has another process do all that encoded images need, at most `max_apart` at once; it gives None where no process
    is free. None where there are no such processes."""
    max_apart: int

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def max_batch_size(self) -> int: ...

    @property
    def exclusive(self) -> bool:
        """Whether to run only one batch at a time, as on a GPU."""

    def decode(self, data: bytes) -> Decoded: ...

    def prepare(self, rgb: Image) -> Prepared: ...

    def run(self, batch: Sequence[Prepared], *, alone: bool) -> Tensor:
        """The results of `prepare` for each image → float32 (N, classes).

        `alone` means that no other image is in the server, so this one may use all processors.
        """


@dataclass(slots=True)
class Timings:
    """How an image's time was spent, in seconds. `queue` is all its waiting, `inference` the run of its whole batch."""

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
    warning: str | None = None


Outcome = ImageLogits | Exception


@dataclass(eq=False, slots=True)
class Job:
    """One image in progress. `data` are the bytes of an encoded image, or None if it came as the model's tensor."""

    model: Runnable
    data: bytes | None
    tensor: Prepared | None
    future: "asyncio.Future[ImageLogits]"
    waiting_since: float
    timings: Timings = field(default_factory=Timings)
    warning: str | None = None


class Watcher(Protocol):
    """What counts events: torchless.serve.metrics.Metrics."""

    def queue_changed(self, waiting: int) -> None: ...

    def batch_done(self, model: Runnable, size: int) -> None: ...

    def image_done(self, model: Runnable, outcome: Outcome, timings: Timings) -> None: ...


def bucket_sizes(max_batch_size: int) -> list[int]:
    """1, 2, 4, … and the maximum."""
    sizes = [1 << power for power in range(max_batch_size.bit_length())]
    return sizes if sizes[-1] == max_batch_size else [*sizes, max_batch_size]
