"""A server as a process of its own, as users start it."""

import os
import random
import re
import signal
import socket
import subprocess
import tempfile
import time
import weakref
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, Any

import httpx

from tests.surroundings import PATIENCE_S


def wait_until(condition: Callable[[], Any], seconds: float = PATIENCE_S) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def free_port() -> int:
    """For a program that cannot choose one itself. It is below those that the system hands out, and might hand out
    before the program takes it.
    """
    handed_out = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    for port in random.SystemRandom().sample(range(max(1024, handed_out - 10_000), handed_out), 100):
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("there is no free port")


class ServerProcess:
    """The process, once it listens. Whoever starts it stops it."""

    def __init__(self, command: Sequence[object], **surroundings: Any) -> None:
        """Files take what it says: it would stop at a full pipe, which nobody reads while requests are logged."""
        files = ExitStack()
        weakref.finalize(self, files.close)
        self._output, self._log = (files.enter_context(tempfile.TemporaryFile()) for _ in range(2))  # noqa: SIM115
        words = list(map(str, command))
        self.process = subprocess.Popen(words, stdout=self._output, stderr=self._log, **surroundings)
        try:
            self.url = self.await_log(r"listening on (http://[^\s\"]+)[\s\"]")[1]
        except BaseException:
            self.stop(signal.SIGKILL)
            raise

    @property
    def log(self) -> str:
        """What it has said on stderr so far."""
        return _written(self._log)

    @property
    def output(self) -> str:
        return _written(self._output)

    def await_log(self, pattern: str) -> re.Match[str]:
        """Waits until the log has something like it, which it returns."""
        wait_until(lambda: self.process.poll() is not None or re.search(pattern, self.log))
        found = re.search(pattern, self.log)
        assert found, f"it ended: {self.log}"
        return found

    def get(self, path: str) -> httpx.Response:
        """On a connection of its own: any worker may answer."""
        return httpx.get(f"{self.url}{path}", timeout=PATIENCE_S)

    def post(self, path: str, content: bytes) -> httpx.Response:
        return httpx.post(f"{self.url}{path}", content=content, timeout=PATIENCE_S)

    def stop(self, how: int = signal.SIGTERM) -> int:
        """Its exit code; `log` and `output` are then complete."""
        if self.process.poll() is None:
            os.kill(self.process.pid, how)
        return self.process.wait(PATIENCE_S)


def _written(file: IO[bytes]) -> str:
    """Without moving the place at which the process writes."""
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0).decode()
