"""Ctrl-C where a decoder does not come back."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surroundings import PATIENCE_S

STUCK = """
import ctypes, sys, threading
from torchless.batch import stuck
from torchless.cli import start
from torchless.engine import classifier

stuck.PATIENCE_S = 0.1
decode_image = classifier.decode_image

def tell_when_asleep(thread):
    seen = 0
    while seen < 50:  # it also sleeps while it waits for Python's lock
        seen = seen + 1 if "(sleeping)" in open(f"/proc/self/task/{thread}/status").read() else 0
    sys.stderr.write("stuck\\n")  # at once, as print() does not: several threads say it

def never(data, *options, **more):
    if "stuck" not in str(data):
        return decode_image(data, *options, **more)
    threading.Thread(target=tell_when_asleep, args=[threading.get_native_id()], daemon=True).start()
    mutex, lock = ctypes.create_string_buffer(256), ctypes.CDLL(None).pthread_mutex_lock
    lock(mutex), lock(mutex)  # like a decoder in C, which no signal reaches

classifier.decode_image = never
start.infer_main()
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at threads in /proc")
@pytest.mark.parametrize("workers", [1, 2])
def test_the_first_ctrl_c_ends_infer_and_says_what_is_kept(
    tiny: Path, photos: Path, tmp_path: Path, workers: int
) -> None:
    (tmp_path / "stuck.png").write_bytes(b"stuck")
    images = [photos / "coffee.png", photos / "coffee.png", *[tmp_path / "stuck.png"] * 2]
    arguments = [tiny, *images, "-d", "cpu", "--workers", workers, "--batch-size", 1, "-o", tmp_path / "rows.csv"]
    command = [sys.executable, "-c", STUCK, *map(str, arguments)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert [process.stderr.readline() for _ in range(workers)] == ["stuck\n"] * workers
            process.send_signal(signal.SIGINT)
            _, told = process.communicate(timeout=PATIENCE_S)
        finally:
            process.kill()
    assert process.returncode == 130
    assert "interrupted while an image was being decoded" in told
    assert workers > 1 or "; 2 rows are kept in" in told
