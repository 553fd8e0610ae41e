import subprocess
import sys

import pytest

FOUND = """
import threading
from torchless.heaps import share_heaps
share_heaps({threads})
began, hold = threading.Barrier(9), threading.Event()
def work():
    began.wait()
    kept = bytearray(100_000)
    hold.wait()
workers = [threading.Thread(target=work) for _ in range(8)]
[worker.start() for worker in workers]
began.wait()
import ctypes
ctypes.CDLL(None).malloc_stats()
hold.set()
"""


@pytest.mark.parametrize(("threads", "variable", "heaps"), [(2, None, 1), (8, None, 2), (2, "3", 3)])
def test_threads_share_heaps(threads: int, variable: str | None, heaps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MALLOC_ARENA_MAX", raising=False)
    if variable is not None:
        monkeypatch.setenv("MALLOC_ARENA_MAX", variable)
    done = subprocess.run(
        [sys.executable, "-c", FOUND.format(threads=threads)], capture_output=True, text=True, check=True
    )
    assert done.stderr.count("Arena ") == heaps  # glibc's own report
