"""One of several server processes: it loads what its parent has proved, and does what its parent says."""

import asyncio
import logging
import os
import shutil
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from pathlib import Path

from torchless.cpus import available_cpus
from torchless.errors import TorchlessError
from torchless.serve.copies import Stock
from torchless.serve.process import configure_process, leave_now, stop_signals
from torchless.serve.registry import Registry
from torchless.serve.server import Server, end, make_service
from torchless.serve.service import Service
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")
_READY_POLL_S = 0.05
# what the parent says, and a worker: a closed pipe means that the other has ended
DRAIN, STOP, READY = "drain", "stop", "ready"


def work(settings: Settings, listener: socket.socket, parent: Connection, folder: Path) -> None:
    """The whole life of a worker process."""
    for number in stop_signals():  # the terminal sends them to all processes; the parent says what they mean
        if number != signal.SIGTERM:
            signal.signal(number, signal.SIG_IGN)
    leash = _Leash(parent)
    leash.start()
    configure_process(settings, image_threads=available_cpus())
    registry = Registry(settings)
    try:
        registry.load_all()
    except TorchlessError as error:
        _LOG.error("%s", error)
        leave_now(1)
    service = make_service(settings, registry)
    server = Server(settings, service)
    leash.serve(server, service)
    server.stop_signals = [signal.SIGTERM]
    with _shared(folder, leash):
        server.run([listener])
    end(service, forced=server.force_exit)


class _Leash(threading.Thread):
    """Does what the parent says. When it has ended, the worker drains as on SIGTERM, or ends at once."""

    def __init__(self, parent: Connection) -> None:
        super().__init__(daemon=True)
        self._parent = parent
        self._server: Server | None = None
        self._service: Service | None = None
        self._stock: Stock | None = None
        self.is_torn = False

    def serve(self, server: Server, service: Service) -> None:
        self._service, self._server = service, server

    def run(self) -> None:
        try:
            while not (self._server is not None and self._server.started):
                if self._parent.poll(_READY_POLL_S):
                    self._obey(self._parent.recv())
            self._parent.send(READY)
            self._adopt()
            while True:
                self._obey(self._parent.recv())
        except (OSError, EOFError):
            self.is_torn = True
            self._obey(DRAIN)

    def _obey(self, what: str | Stock) -> None:
        if isinstance(what, Stock):
            self._stock = what
            if self._server is not None and self._server.started:
                self._adopt()
        elif self._server is None:
            leave_now(0)
        elif what == DRAIN:
            self._server.drain()
        else:
            self._server.stop()

    def _adopt(self) -> None:
        """Serves what the parent has proved. What cannot be loaded here may be in a new process."""
        stock, server, service = self._stock, self._server, self._service
        if stock is None or server is None or service is None:
            return

        def done(adopted: "Future[None]") -> None:
            if adopted.cancelled():
                return
            if (error := adopted.exception()) is not None:
                _LOG.error("this worker cannot serve what the others do, and ends: %s", error)
                server.drain()
            else:
                with suppress(OSError):  # the parent has ended
                    self._parent.send(stock.number)

        asyncio.run_coroutine_threadsafe(service.adopt(stock), service.loop).add_done_callback(done)


@contextmanager
def _shared(folder: Path, leash: _Leash) -> Iterator[None]:
    """The last worker to leave removes the folder if the parent, which should, has ended."""
    try:
        import fcntl
    except ImportError:  # Windows, which may not remove what a process has open
        yield
        return
    lock = os.open(folder, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_SH)
    yield
    fcntl.flock(lock, fcntl.LOCK_UN)
    if leash.is_torn:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)
