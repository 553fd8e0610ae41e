"""Surroundings of the tests: the same however and wherever they are started, and nothing of them stays. A pytest
plugin.

A suite that a script starts in the background ignores Ctrl-C, and so would everything it starts; variables of the
user's shell change what programs print. Tests write into a temp folder of their own, which also marks their processes.
"""

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest

# How long an example takes says something of the machine, not of the code; what an earlier run has found decides
# nothing. The examples are the same in each run, but where new ones are looked for: `make test-hostile`.
hypothesis.settings.register_profile(
    "tests",
    derandomize="NEW_EXAMPLES" not in os.environ,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("tests")

_SIGNALS = (signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
_COLORS = (
    "FORCE_COLOR",
    "NO_COLOR",
    "CLICOLOR",
    "CLICOLOR_FORCE",
    "PY_COLORS",
    "TTY_COMPATIBLE",
    "TTY_INTERACTIVE",
    "GITHUB_ACTIONS",
)
_VARIABLES = (*_COLORS, "COLUMNS", "LINES", "RAY_ADDRESS")
PATIENCE_S = 300.0  # for what is certain to happen, on a machine that has other work
_TRACKER = "from multiprocessing.resource_tracker import"
_OTHERS = "pytest-of-", "ray", "torchinductor_"
FOLDER = pytest.StashKey[Path]()
LEFT_OVER = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in children: what the system does by default
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    for name in _VARIABLES:
        os.environ.pop(name, None)
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # for tests that import it themselves
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"


@pytest.hookimpl(tryfirst=True)  # before xdist starts its workers, which have the same folder
def pytest_sessionstart(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        for kept in Path(tempfile.gettempdir()).glob("tl-*-*"):  # of a session that failed or was killed
            if not Path("/proc", kept.name.split("-")[1]).exists():
                shutil.rmtree(kept, ignore_errors=True)
        folder = Path(
            tempfile.mkdtemp(prefix=f"tl-{os.getpid()}-")
        )  # short: Ray's sockets lie in it, whose names have 107 bytes at most
        session.config.stash[FOLDER] = folder
        os.environ["TMPDIR"] = tempfile.tempdir = str(folder)


@pytest.hookimpl(trylast=True)  # fixtures have ended then
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fails a session that leaves a process, or anything in the temp folder but what pytest, Ray and PyTorch keep
    there.
    """
    folder = session.config.stash.get(FOLDER, None)
    if folder is None:
        return
    left = [f"process {pid}: {command}" for pid, command in _ended(folder).items()]
    left += [f"{path}" for path in sorted(folder.iterdir()) if not path.name.startswith(_OTHERS)]
    session.config.stash[LEFT_OVER] = left
    if left:
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    if session.exitstatus != pytest.ExitCode.TESTS_FAILED:
        shutil.rmtree(folder)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    folder, left = config.stash.get(FOLDER, None), config.stash.get(LEFT_OVER, [])
    if left:
        terminalreporter.section("the tests left behind", red=True)
        for line in left:
            terminalreporter.write_line(line)
    if folder is not None and folder.exists():
        terminalreporter.write_line(f"what the tests wrote is kept in {folder}")


def _ended(folder: Path) -> dict[int, str]:
    """Waits until all processes of the session have ended, and ends those that do not; the command lines of these by
    their numbers.
    """
    deadline = time.monotonic() + PATIENCE_S
    while (running := dict(_processes(folder))) and time.monotonic() < deadline:
        time.sleep(0.05)
    for pid in running:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return running


def _processes(folder: Path) -> Iterator[tuple[int, str]]:
    """Those that were started with this temp folder, by whomever, and their command lines; but not Python's tracker of
    shared resources, which ends with the process that it serves, and that may be this one.
    """
    mark = f"TMPDIR={folder}".encode()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and mark in (entry / "environ").read_bytes().split(b"\0"):
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if _TRACKER not in command:
                    yield int(entry.name), command
        except OSError:  # another user's, or it has just ended
            pass
