"""How many workers, and how many threads per forward pass."""

from torchless.cpus import available_cpus
from torchless.errors import UsageError
from torchless.records import dataclass


@dataclass(frozen=True)
class Plan:
    """`workers` batches at once, on a session of `threads` intra-op threads.

    Together they run `workers + threads - 1` threads: all callers share the session's own threads, and each caller is
    one more.
    """

    workers: int
    threads: int


def make_plan(batches: int, *, workers: int | None = None, threads: int | None = None, cpus: int | None = None) -> Plan:
    """How to spread the work over `cpus` processors (by default those that this process may use), without using more
    threads.

    `batches` is the least number of batches; it matters only below `cpus`. A single batch gets one session of many
    threads. Many batches get one worker per processor on a session of one thread, which was 1.3 times as fast on an
    idle machine, and twice as fast on a busy one (docs/many-images.md). A given `workers` or `threads` is kept and the
    other adapts; if both are given, both are kept. Raises UsageError for numbers below 1.
    """
    for name, value in (("workers", workers), ("threads", threads)):
        if value is not None and value < 1:
            raise UsageError(f"`{name}` must be at least 1, got {value}")
    cpus = cpus or available_cpus()
    wanted = workers or max(1, cpus - (threads or 1) + 1)
    used = max(1, min(wanted, batches))
    return Plan(used, threads or max(1, cpus - used + 1))
