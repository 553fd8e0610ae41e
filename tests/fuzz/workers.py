"""make faults: kill -9 of worker processes of `serve --workers 2` while clients use it, and its file is replaced."""

import http.client
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.fuzz.campaign import REPO

KILLS = 100
_LIMIT_S, _CLIENTS = 60, 3


@dataclass
class Outcomes:
    """What came of the kills: how many requests were answered, how many of those by another model than at first, and
    how many died with their worker; kills that the log does not name; times that no answer came within a minute;
    processes and folders that outlived the server.
    """

    kills: int = 0
    answers: int = 0
    wrong: int = 0
    cut: int = 0
    unnamed: int = 0
    silent: int = 0
    left: int = 0

    @property
    def bad(self) -> bool:
        return bool(self.wrong or self.unnamed or self.silent or self.left)


def run(folder: Path, model: Path, image: bytes, *, kills: int, random: Random) -> Outcomes:
    """Kills a worker so often, at random moments after the one before was replaced; then their parent."""
    (folder / "temp").mkdir(parents=True)
    served, content, outcomes = folder / "served.onnx", model.read_bytes(), Outcomes()
    served.write_bytes(content)
    server = _Server(folder, served)
    clients = _Clients(server.port, image, outcomes)
    for number in range(kills):
        served.write_bytes(random.choice((content, content[:-1] + b"?", b"damaged")))
        victim = random.choice(server.workers(2))
        time.sleep(random.random() / 4)
        os.kill(victim, signal.SIGKILL)
        outcomes.kills += 1
        outcomes.silent += not clients.are_answered()
        outcomes.unnamed += not server.says(f"worker {victim} was killed by signal 9")
        if number % 10 == 9:
            sys.stderr.write(f"{outcomes}\n")
    clients.stop()
    outcomes.left = server.kill()
    return outcomes


class _Server:
    def __init__(self, folder: Path, model: Path) -> None:
        self._folder, self._log = folder, folder / "log"
        command = [sys.executable, "-m", "torchless", "serve", model.name, "--workers", "2", "--port", "0", "-d", "cpu"]
        environment = os.environ | {"PYTHONPATH": str(REPO), "TMPDIR": str(folder / "temp")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, env=environment)
        assert self.says("listening on"), self._log.read_text()
        self.port = int(re.search(r"listening on http://127.0.0.1:(\d+)", self._log.read_text())[1])  # type: ignore[index]

    def workers(self, count: int) -> list[int]:
        """Their process ids, once there are so many."""
        for _ in _polls():
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
            found = [int(pid) for pid in children if b"spawn_main" in _command_line(pid)]
            if len(found) == count:
                return found
        raise AssertionError(f"no {count} workers: {self._log.read_text()}")

    def says(self, text: str) -> bool:
        return any(text in self._log.read_text() for _ in _polls())

    def kill(self) -> int:
        """Kills the parent alone; how many processes and folders then stay."""
        workers = self.workers(2)
        self._process.kill()
        self._process.wait()
        for _ in _polls():
            left = [pid for pid in workers if b"spawn_main" in _command_line(pid)]
            if not left:
                break
        return len(left) + len(list((self._folder / "temp").iterdir()))


class _Clients:
    """Threads that ask one after the other, each on a new connection, and compare the answers with the first."""

    def __init__(self, port: int, image: bytes, outcomes: Outcomes) -> None:
        self._port, self._image, self._outcomes = port, image, outcomes
        self._lock, self._stopped, self._answers = threading.Lock(), False, 0
        self._wanted = next(answer for _ in _polls() if (answer := self._ask()))
        self._threads = [threading.Thread(target=self._work, daemon=True) for _ in range(_CLIENTS)]
        for thread in self._threads:
            thread.start()

    def are_answered(self) -> bool:
        """Whether answers still come."""
        before = self._outcomes.answers
        return any(self._outcomes.answers > before + _CLIENTS for _ in _polls())

    def stop(self) -> None:
        self._stopped = True
        for thread in self._threads:
            thread.join(_LIMIT_S)

    def _work(self) -> None:
        while not self._stopped:
            answer = self._ask()
            with self._lock:
                self._outcomes.answers += bool(answer)
                self._outcomes.cut += not answer
                self._outcomes.wrong += bool(answer) and answer != self._wanted

    def _ask(self) -> bytes:
        """The answer's body, empty if the connection ended without one."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_LIMIT_S)
        try:
            connection.request("POST", "/classify", self._image)
            return connection.getresponse().read()
        except (OSError, http.client.HTTPException):
            return b""
        finally:
            connection.close()


def _command_line(pid: object) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _polls() -> Iterator[None]:
    """Turns of a loop that waits for something, for a minute at most."""
    end = time.monotonic() + _LIMIT_S
    while time.monotonic() < end:
        yield
        time.sleep(0.02)
