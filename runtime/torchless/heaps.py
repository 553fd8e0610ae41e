"""How many heaps the C library keeps for a program's threads."""

import os
import sys

_M_ARENA_MAX = -8  # malloc.h of glibc
_THREADS_A_HEAP = 4


def share_heaps(threads: int) -> None:
    """Lets up to four threads of this process share a heap, where the C library is glibc.

    By default each thread gets its own, up to eight for each processor, and each keeps what an image needed at most:
    a tenth of the memory of a small network, and no time is saved (docs/performance.md). Only threads that start later
    are concerned. If MALLOC_ARENA_MAX is set in the environment, it decides instead.
    """
    if threads < 2 or sys.platform != "linux" or "MALLOC_ARENA_MAX" in os.environ:
        return
    import ctypes  # numpy has imported it already

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, -(-threads // _THREADS_A_HEAP))
