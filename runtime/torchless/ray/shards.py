"""The stream of inputs in shards: what one worker takes at a time, and what one file of the output folder holds."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain, count
from typing import Any

from torchless.engine.results import Input
from torchless.errors import ImageError
from torchless.records import dataclass

_MOST_BYTES = 32 << 20  # of images that are sent with their shard: from archives and standard input
_SHARDS_A_WORKER = 4  # at least, if there are enough images: the last ones to finish should not keep the others waiting
_RETRIES, _DEATHS_ALONE = 1, 3


@dataclass(frozen=True)
class Shard:
    """Inputs under a `name` that sorts in their order; `deaths` counts the workers that died while working on them."""

    name: str
    inputs: tuple[Input, ...]
    deaths: int = 0

    def after_death(self) -> list["Shard"]:
        """What to do next: try again; if another worker dies, split into halves; an image that kills workers alone gets
        an error instead.
        """
        deaths = self.deaths + 1
        if deaths <= _RETRIES or (len(self.inputs) == 1 and deaths < _DEATHS_ALONE):
            return [replace(self, deaths=deaths)]
        if len(self.inputs) > 1:
            middle = len(self.inputs) // 2
            halves = self.inputs[:middle], self.inputs[middle:]
            return [Shard(f"{self.name}-{number}", half, _RETRIES) for number, half in enumerate(halves)]
        error = (
            f"the worker process ended while it worked on this image, {deaths} times: it may have been killed "
            f"for its use of memory"
        )
        return [Shard(self.name, (Input(self.inputs[0].name, None, error),))]


def make_shards(inputs: Iterable[Input], *, size: int, workers: int, first: int = 0) -> Iterator[Shard]:
    """Shards of `size` inputs each, or enough for several per worker; smaller if the images themselves are sent.

    Reads inputs only when shards are needed, except the first ones, which show whether there are many. `first` is the
    number of the first shard.
    """
    stream = map(portable, inputs)
    ahead = next(_chunks(stream, _SHARDS_A_WORKER * workers * size), [])
    size = max(1, min(size, -(-len(ahead) // (_SHARDS_A_WORKER * workers))))
    numbers = count(first)
    for chunk in _chunks(chain(ahead, stream), size):
        yield Shard(f"{next(numbers):08}", tuple(chunk))


def _chunks(inputs: Iterator[Input], size: int) -> Iterator[list[Input]]:
    chunk: list[Input] = []
    weight = 0
    for item in inputs:
        chunk.append(item)
        weight += len(item.image) if isinstance(item.image, bytes) else 0
        if len(chunk) == size or weight >= _MOST_BYTES:
            yield chunk
            chunk, weight = [], 0
    if chunk:
        yield chunk


def portable(item: Input) -> Input:
    """The input as another process can use it: what only this process can read (a member of an archive) is read now."""
    if not callable(item.image) or getattr(item.image, "travels", True):
        return item
    try:
        image: Any = item.image()
    except ImageError as error:
        return Input(item.name, None, str(error))
    return Input(item.name, image)
