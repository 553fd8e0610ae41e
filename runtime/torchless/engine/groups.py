"""How many images a worker takes at once.

A small network leaves little of a processor's caches to what follows it: the code and data that read, decode and rank
an image come from memory again each time. Where an image takes a few milliseconds, a worker therefore does each step
for several images before the next step. Each still runs through the model by itself, or in its batch, so results stay
the same bit for bit.
"""

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import TypeVar

from torchless.engine.results import Input

R = TypeVar("R")

_MOST, _SECONDS = 4, 0.03  # images in a group; how long it may take, as no result of it is there before


class Listed(Iterator[Input]):
    """Inputs that are all there, such as the files of a folder: to ask for the next one never takes long."""

    def __init__(self, inputs: Iterator[Input]) -> None:
        self._inputs = inputs

    def __next__(self) -> Input:
        return next(self._inputs)


class Groups:
    """Groups of one batch at first, later of as many as take a moment, by the time of those that are done."""

    def __init__(self, batch_size: int) -> None:
        self._batch_size = self._size = batch_size

    def of(self, inputs: Iterator[Input]) -> Iterator[list[Input]]:
        """The inputs, in groups."""
        while group := list(islice(inputs, self._size)):
            yield group

    def timed(self, work: Callable[[list[Input]], R]) -> Callable[[list[Input]], R]:
        """`work` on a group, which decides how large the next ones are."""

        def working(group: list[Input]) -> R:
            start = time.perf_counter()
            done = work(group)
            each = (time.perf_counter() - start) / len(group)
            fit = min(_MOST, int(_SECONDS / each)) if each > 0 else _MOST
            self._size = max(1, fit // self._batch_size) * self._batch_size
            return done

        return working
