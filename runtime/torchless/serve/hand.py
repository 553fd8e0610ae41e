"""One of the processes that work on images, as the server sees it (apart.py has the other side)."""

import logging
import math
import multiprocessing
import pickle
import time
from collections.abc import Sequence
from contextlib import suppress

from torchless.serve.apart import work
from torchless.serve.content import Content
from torchless.serve.jobs import Worked
from torchless.serve.settings import Settings

PATIENCE_S = 60.0  # longer than any start, load or image takes
_LOG = logging.getLogger("torchless.serve")
_SPAWN = multiprocessing.get_context("spawn")


class GoneError(Exception):
    """The process has ended."""


class Hand:
    """A process, started with what it is to load. One thread at a time asks it, and one tells it of models."""

    def __init__(self, settings: Settings, contents: list[Content]) -> None:
        self._images, images = _SPAWN.Pipe()
        self._control, control = _SPAWN.Pipe()
        self.known = {content.key for content in contents}
        self._asked = self._told = math.inf  # since when it has not taken or answered what it was sent
        self.process = _SPAWN.Process(target=work, args=(settings, images, control, contents), daemon=True)
        self.process.start()
        images.close()
        control.close()

    def ready(self) -> None:
        """Waits until it has loaded what it was started with. Raises GoneError."""
        for _ in self.known:
            self._hear()

    def load(self, content: Content) -> None:
        """Raises GoneError."""
        self._tell(content)
        self._hear()
        self.known.add(content.key)

    def forget(self, key: int) -> None:
        self.known.discard(key)
        with suppress(GoneError):
            self._tell(key)

    def waits_for(self) -> float:
        """The seconds since it was sent what it has not answered yet; a pipe that is full has no end of its own."""
        return time.monotonic() - min(self._asked, self._told)

    def ask(self, key: int, images: Sequence[bytes]) -> list[Worked | Exception] | None:
        """What became of each image; None if none was begun. Raises GoneError if the process ended meanwhile."""
        question, self._asked = pickle.dumps((key, images), 5), time.monotonic()
        try:
            self._images.send_bytes(question)
            return self._answers()
        except OSError:
            return None
        finally:
            self._asked = math.inf

    def _answers(self) -> list[Worked | Exception]:
        try:
            answers: list[Worked | Exception] = pickle.loads(self._images.recv_bytes())  # noqa: S301 - our own process
        except (OSError, EOFError):
            raise GoneError from None
        return answers

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def _tell(self, what: Content | int) -> None:
        self._told = time.monotonic()
        try:
            self._control.send(what)
        except OSError:
            raise GoneError from None
        finally:
            self._told = math.inf

    def _hear(self) -> None:
        try:
            problem = self._control.recv() if self._control.poll(PATIENCE_S) else "it took too long"
        except (OSError, EOFError):
            raise GoneError from None
        if problem is not None:
            _LOG.error("the process %s for images cannot load a model: %s", self.process.pid, problem)
            self.kill()
            raise GoneError
