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


_GROWN = """
import ctypes
from torchless.heaps import grow_in_large_pieces
libc = ctypes.CDLL(None)
libc.sbrk.restype = ctypes.c_void_p
grow_in_large_pieces()
before = libc.sbrk(0)
kept = [bytearray(50_000) for _ in range(200)]  # too small for pieces of their own
print((libc.sbrk(0) - before) >> 20)
"""


@pytest.mark.parametrize(("variable", "least", "most"), [(None, 32, 64), ("131072", 0, 16)])
def test_memory_is_taken_in_large_pieces(
    variable: str | None, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MALLOC_TOP_PAD_", raising=False)
    if variable is not None:
        monkeypatch.setenv("MALLOC_TOP_PAD_", variable)
    done = subprocess.run([sys.executable, "-c", _GROWN], capture_output=True, text=True, check=True)
    assert least <= int(done.stdout) <= most


_KEPT = """
import resource
from torchless.heaps import keep_what_is_freed
keep_what_is_freed()
byte = b"1"
found = []
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    byte * (128 << 20)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(found[-1])
"""


@pytest.mark.parametrize(("variable", "least", "most"), [(None, 0, 20), ("65536", 60, 40_000)])
def test_what_is_freed_is_used_again(
    variable: str | None, least: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MALLOC_MMAP_MAX_", raising=False)
    if variable is not None:
        monkeypatch.setenv("MALLOC_MMAP_MAX_", variable)
    done = subprocess.run([sys.executable, "-c", _KEPT], capture_output=True, text=True, check=True)
    assert least <= int(done.stdout) <= most  # pages that the system had to fill: 64 large or 32,768 small ones
