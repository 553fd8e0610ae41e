"""How calls are timed, and how much memory a process used; shared by all measurements."""

import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from torchless.records import dataclass

WARM_UP_CALLS, LEAST_CALLS = 3, 5


@dataclass(frozen=True)
class Timing:
    """Milliseconds per call, over `calls` calls: the median, and what 95 % of them stay below."""

    p50_ms: float
    p95_ms: float
    calls: int


def time_calls(
    call: Callable[[], object], seconds: float, *, warm_up: int = WARM_UP_CALLS, least: int = LEAST_CALLS
) -> list[float]:
    """The milliseconds of each call, one after the other for `seconds` but at least `least` times, after `warm_up`
    uncounted calls.
    """
    for _ in range(warm_up):
        call()
    times: list[float] = []
    while len(times) < least or sum(times) < 1000 * seconds:
        start = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - start))
    return times


def summary(times_ms: Sequence[float]) -> Timing:
    """The Timing of one or several results of time_calls."""
    p50, p95 = np.percentile(times_ms, [50, 95])
    return Timing(float(p50), float(p95), len(times_ms))


def peak_memory() -> int:
    """The most memory that this process has held at once (resident set), in bytes; 0 where the system does not tell.

    Linux's ru_maxrss is not usable: a new process inherits its parent's value (kernel: exec_mmap).
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return _peak_by_resource()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


def _peak_by_resource() -> int:
    try:
        resource: Any = import_module("resource")
    except ImportError:  # Windows
        return 0
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 1024)
