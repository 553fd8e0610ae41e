"""Every file and every connection of `infer` and `serve`, as the kernel sees them."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
import skimage
from tests.surroundings import PATIENCE_S

pytestmark = pytest.mark.slow
PHOTO = Path(skimage.data_dir) / "coffee.png"


def traced(box: Path, *words: object) -> "subprocess.Popen[str]":
    """A program whose calls are written to box/calls, in an environment without the variables of a CI service, in which
    ONNX Runtime never reports.
    """
    assert shutil.which("strace"), "this test needs strace: make browser"
    (box / "tmp").mkdir()
    environment = {"PATH": os.environ["PATH"], "HOME": str(box), "TMPDIR": str(box / "tmp")}
    strace = ["strace", "-f", "-qq", "-o", str(box / "calls"), "-e", "trace=connect,sendto,openat"]
    command = [*strace, sys.executable, "-m", "torchless", *map(str, words)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def is_silent(box: Path) -> None:
    """No connection, no look-up of a name, no file that is left."""
    calls = (box / "calls").read_text().splitlines()
    assert any("openat" in call for call in calls)  # it traced
    assert not [call for call in calls if " connect(" in call or " sendto(" in call]
    assert not [call for call in calls if re.search(r'"/etc/(resolv.conf|hosts|nsswitch.conf|machine-id)"', call)]
    assert list((box / "tmp").iterdir()) == []


def test_infer(tiny: Path, tmp_path: Path) -> None:
    out, _ = traced(tmp_path, "infer", tiny, PHOTO).communicate(timeout=PATIENCE_S)
    assert "coffee.png" in out
    is_silent(tmp_path)


def test_serve(tiny: Path, tmp_path: Path) -> None:
    """Which lives long enough for a report that is sent after a while: it is asked for its page and an answer."""
    process = traced(tmp_path, "serve", tiny, "--port", "0", "--device", "cpu")
    assert process.stderr is not None
    log = ""
    while (found := re.search(r"listening on (http://\S+)", log)) is None:
        line = process.stderr.readline()
        assert line, log
        log += line
    for _ in range(20):
        assert httpx.post(f"{found[1]}/classify", content=PHOTO.read_bytes(), timeout=PATIENCE_S).status_code == 200
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(child), signal.SIGTERM)
    process.communicate(timeout=PATIENCE_S)
    is_silent(tmp_path)
