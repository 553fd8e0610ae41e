"""How a process keeps memory: the C library's heaps for its threads, and Python's search for garbage."""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_M_ARENA_MAX, _M_MMAP_MAX, _M_TOP_PAD, _M_TRIM_THRESHOLD = -8, -4, -2, -1  # malloc.h of glibc
_THREADS_A_HEAP = 4
_PIECE_BYTES, _NEVER = 32 << 20, 2**31 - 1


def share_heaps(threads: int) -> None:
    """Lets up to four threads of this process share a heap, where the C library is glibc.

    By default each thread gets its own, up to eight for each processor, and each keeps what an image needed at most:
    a tenth of the memory of a small network, and no time is saved (docs/performance.md). Only threads that start later
    are concerned. If MALLOC_ARENA_MAX is set in the environment, it decides instead.
    """
    if threads > 1 and "MALLOC_ARENA_MAX" not in os.environ:
        _mallopt(_M_ARENA_MAX, -(-threads // _THREADS_A_HEAP))


def grow_in_large_pieces() -> None:
    """For a process that does one thing and ends: one heap for all threads, which takes memory from the system 32 MB at
    a time, where the C library is glibc.

    The heap of a thread grows by a few pages at a time: opening a small network in one took 700 calls of the system,
    and a twentieth of the whole process's time. What is not used of a piece is no memory yet. MALLOC_ARENA_MAX and
    MALLOC_TOP_PAD_ in the environment decide instead.
    """
    if "MALLOC_ARENA_MAX" not in os.environ:
        _mallopt(_M_ARENA_MAX, 1)
    if "MALLOC_TOP_PAD_" not in os.environ:
        _mallopt(_M_TOP_PAD, _PIECE_BYTES)


def keep_what_is_freed() -> None:
    """For a process that needs blocks of many MB again and again: what it frees is used for the next, where the C
    library is glibc.

    By default each block beyond 32 MB comes from the system and goes back to it, which fills it with zeros, page by
    page: a third of what PyTorch in float64 takes for resnet50. MALLOC_MMAP_MAX_ or MALLOC_MMAP_THRESHOLD_ in the
    environment decide instead.
    """
    if not {"MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_"} & os.environ.keys():
        _mallopt(_M_MMAP_MAX, 0)
        _mallopt(_M_TRIM_THRESHOLD, _NEVER)


def _mallopt(parameter: int, value: int) -> None:
    if sys.platform != "linux":
        return
    import ctypes  # numpy has imported it already, or will

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(parameter, value)


@contextmanager
def no_search_for_garbage() -> Iterator[None]:
    """For imports, and for torch's exporters: they make hundreds of thousands of objects that live on, or until they
    end, and hardly any garbage. Python would look through all of them again and again.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
