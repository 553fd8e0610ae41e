"""Every file and every connection of `infer` and `serve`, as the kernel sees them."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import skimage
from tests.server_process import ServerProcess
from tests.surroundings import PATIENCE_S

pytestmark = pytest.mark.slow
PHOTO = Path(skimage.data_dir) / "coffee.png"


def traced(box: Path, *words: object) -> tuple[list[str], dict[str, str]]:
    """The command of a program whose calls are written to box/calls, and an environment without the variables of a CI
    service, in which ONNX Runtime never reports.
    """
    assert shutil.which("strace"), "this test needs strace: make browser"
    (box / "tmp").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(box), "TMPDIR": str(box / "tmp")}
    strace = ["strace", "-f", "-qq", "-o", str(box / "calls"), "-e", "trace=connect,sendto,openat"]
    return [*strace, sys.executable, "-m", "torchless", *map(str, words)], environment


def is_silent(box: Path) -> None:
    """No connection, no look-up of a name, no file that is left."""
    calls = (box / "calls").read_text().splitlines()
    assert any("openat" in call for call in calls)  # it traced
    assert not [call for call in calls if " connect(" in call or " sendto(" in call]
    assert not [call for call in calls if re.search(r'"/etc/(resolv.conf|hosts|nsswitch.conf|machine-id)"', call)]
    assert list((box / "tmp").iterdir()) == []


def test_infer(tiny: Path, tmp_path: Path) -> None:
    command, environment = traced(tmp_path, "infer", tiny, PHOTO)
    out = subprocess.check_output(command, env=environment, stderr=subprocess.DEVNULL, timeout=PATIENCE_S)
    assert b"coffee.png" in out
    is_silent(tmp_path)


def test_serve(tiny: Path, tmp_path: Path) -> None:
    """Which lives long enough for a report that is sent after a while: it is asked for its page and an answer."""
    command, environment = traced(tmp_path, "serve", tiny, "--port", "0", "--device", "cpu")
    started = ServerProcess(command, env=environment)
    for _ in range(20):
        assert started.post("/classify", PHOTO.read_bytes()).status_code == 200
    pid = started.process.pid
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    started.process.wait(PATIENCE_S)
    is_silent(tmp_path)
