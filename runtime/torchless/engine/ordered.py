"""Many images at once: while one is decoded, another runs through the model. Order is kept, and memory is bounded.

Each of a few worker threads takes an image all the way, from the file to the predictions; all share one session.
Pillow, numpy and ONNX Runtime release Python's lock while they work, so threads are enough, and nothing is copied
between processes.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 2  # batches in flight per worker: one it works on, and one that waits for it


def map_in_order(function: Callable[[T], R], items: Iterable[T], *, workers: int) -> Generator[R, None, None]:
    """`function` of each item, in the order of the items, `workers` at a time in threads; one worker uses the caller's
    own thread.

    The caller's thread reads items at most `2 * workers` ahead of the result it waits for; each result is returned as
    soon as it is next. What `function` or the items raise is raised in its place, after all earlier results. If the
    caller stops early or is interrupted, waiting items are dropped and running ones are awaited.
    """
    if workers == 1:
        yield from map(function, items)
        return
    pool = ThreadPoolExecutor(workers, thread_name_prefix="torchless")
    try:
        waiting: deque[Future[R]] = deque()
        for future in _submit(pool, function, items):
            waiting.append(future)
            while waiting and (waiting[0].done() or len(waiting) >= _AHEAD * workers):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _submit(pool: ThreadPoolExecutor, function: Callable[[T], R], items: Iterable[T]) -> Iterator[Future[R]]:
    try:
        for item in items:
            yield pool.submit(function, item)
    except (
        Exception
    ) as error:  # whatever the caller's own iterator raises comes after the results of the items before it
        failed: Future[R] = Future()
        failed.set_exception(error)
        yield failed
