"""How many workers, and how many threads for each forward pass."""

from dataclasses import dataclass

from torchless.cpus import available_cpus
from torchless.errors import UsageError


@dataclass(frozen=True)
class Plan:
    """`workers` batches at once, on a session of `threads` intra-op threads. Together they run `workers + threads - 1` threads: a session's
    own threads are shared by all its callers, and each caller is one of them.
    """

    workers: int
    threads: int


def make_plan(batches: int, *, workers: int | None = None, threads: int | None = None, cpus: int | None = None) -> Plan:
    """How to spread the work on `cpus` processors (by default those that this process may use), no more threads than there are of those.

    `batches` is how many there are at least; it matters while it is below `cpus`. One batch alone gets one session of many threads. Many get
    as many workers as processors on a session of one thread, which was 1.3 times as fast on an idle machine, and twice as fast on one that
    had other work (docs/many-images.md). What is given as `workers` or `threads` is kept, and the other follows; both together are taken as
    they are. Raises UsageError for numbers below 1.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"{name} must be at least 1, got {value}")
    cpus = cpus or available_cpus()
    wanted = workers or max(1, cpus - (threads or 1) + 1)
    used = max(1, min(wanted, batches))
    return Plan(used, threads or max(1, cpus - used + 1))
