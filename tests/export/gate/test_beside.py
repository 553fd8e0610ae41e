"""PyTorch's answers that a forked process computes while the exporter is at work."""

import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import torch
from tests.conftest import REPO
from tests.export.gate.beside_cases import CASES
from tests.surroundings import PATIENCE_S


def test_a_fork_saves_time_and_changes_nothing(tiny: Path, tmp_path: Path) -> None:
    """Whatever becomes of it. The process ends by being killed, and its last fork with it."""
    output, said, errors = (tmp_path / name for name in ("tiny.onnx", "said", "errors"))
    command = [sys.executable, "-m", "tests.export.gate.beside_cases", str(output), str(torch.get_num_threads())]
    alive, held = os.pipe()
    with said.open("w") as stdout, errors.open("w") as stderr:
        process = subprocess.Popen(command, cwd=REPO, stdout=stdout, stderr=stderr, pass_fds=[held])
    os.close(held)
    code = process.wait(timeout=PATIENCE_S)
    assert said.read_text().split() == [case.__name__ for case in CASES], errors.read_text()
    assert code == -signal.SIGKILL
    assert select.select([alive], [], [], PATIENCE_S)[0], "the fork still holds its end of the pipe"
    os.close(alive)
    assert output.read_bytes() == tiny.read_bytes()
