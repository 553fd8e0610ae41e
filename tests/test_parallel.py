"""The plugin tests/parallel.py, in a session of pytest of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests import parallel
from tests.surroundings import PATIENCE_S

TESTS = """
import os, pytest

@pytest.mark.parametrize("number", range(12))
def test(number):
    if number == 3:
        os._exit(1)
"""


def test_a_test_that_ends_its_worker_fails_alone_and_once(tmp_path: Path) -> None:
    """As one does that hangs, after `faulthandler_timeout`."""
    shutil.copy(parallel.__file__, tmp_path / "plugin.py")
    (tmp_path / "test_it.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-n", "2", "-p", "plugin", "-p", "no:cacheprovider", "-p", "no:randomly"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    environment.pop("PYTEST_XDIST_WORKER", None)
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert done.returncode == 1
    assert "crashed while running 'test_it.py::test[3]'" in done.stdout
    assert "1 failed, 11 passed" in done.stdout
