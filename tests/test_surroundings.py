"""The plugin tests/surroundings.py, in sessions of pytest of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import surroundings


def session_of(folder: Path, test: str, *, before: str = "") -> subprocess.CompletedProcess[str]:
    """What pytest says of a file with that test, with the plugin, after the shell has run `before`."""
    (folder / "plugin.py").write_text(
        Path(surroundings.__file__).read_text().replace("PATIENCE_S = 300.0", "PATIENCE_S = 0.2")
    )
    (folder / "test_it.py").write_text(
        f"import os, signal, subprocess, sys, tempfile\ndef test(tmp_path):\n    {test}\n"
    )
    (folder / "tmp").mkdir()
    pytest_ = f"{before} exec {sys.executable} -m pytest -q -p plugin -p no:cacheprovider -p no:randomly test_it.py"
    environment = os.environ | {"PYTHONPATH": str(folder), "TMPDIR": str(folder / "tmp")}
    return subprocess.run(
        ["sh", "-c", pytest_], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("before", "test"),
    [
        (
            "trap '' INT TERM;",
            "assert subprocess.run(['sh', '-c', 'kill -INT $$; kill -TERM $$; exit 7']).returncode == -signal.SIGINT",
        ),
        ("trap '' INT;", "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"),
        (
            "export COLUMNS=10 RAY_ADDRESS=nowhere GITHUB_ACTIONS=true;",
            "assert not {'COLUMNS', 'RAY_ADDRESS', 'GITHUB_ACTIONS'} & set(os.environ)",
        ),
    ],
)
def test_tests_and_their_children_are_not_told_what_the_shell_was(tmp_path: Path, before: str, test: str) -> None:
    done = session_of(tmp_path, test, before=before)
    assert done.returncode == 0, done.stdout
    assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.parametrize(
    ("test", "left"),
    [
        ("tempfile.mkdtemp(prefix='forgotten-')", "forgotten-"),
        ("subprocess.Popen(['sleep', '50'])", ": sleep 50"),
        ("subprocess.run(['sh', '-c', 'sleep 51 & :'])", "sleep 51"),  # or the shell that is about to become it
    ],
)
def test_what_stays_fails_the_session(tmp_path: Path, test: str, left: str) -> None:
    done = session_of(tmp_path, test)
    assert done.returncode == 1, done.stdout
    (line,) = done.stdout.partition("the tests left behind")[2].partition("kept in")[0].splitlines()[1:-1]
    assert left in line
