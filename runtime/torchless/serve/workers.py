"""Several server processes behind one socket: they load what their parent has proved, are replaced when they die, and
drain and end with it.
"""

import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from prometheus_client import multiprocess

from torchless.errors import TorchlessError
from torchless.serve.copies import Copies, Stock
from torchless.serve.metrics import FOLDER_VARIABLE
from torchless.serve.polling import Poller
from torchless.serve.process import pause_s, stop_signals
from torchless.serve.registry import Registry
from torchless.serve.settings import Settings
from torchless.serve.worker import DRAIN, READY, STOP, work

_LOG = logging.getLogger("torchless.serve")
_SPAWN = multiprocessing.get_context("spawn")
_SPARE_S = 15.0  # longer than a worker's own last resort
_WATCH_S = 0.1  # how soon a signal is seen
_MODELS, _METRICS = "models", "metrics"


def serve_in_workers(
    settings: Settings, registry: Registry, listener: socket.socket, announce: Callable[[], None]
) -> None:
    """Serves with `settings.workers` processes until SIGTERM, SIGHUP or SIGINT. Raises TorchlessError if they cannot
    start.
    """
    with tempfile.TemporaryDirectory(prefix="torchless-serve-", ignore_cleanup_errors=True) as folder:
        for name in (_MODELS, _METRICS):
            Path(folder, name).mkdir()
        copies = Copies(registry, settings, Path(folder, _MODELS))
        for model in registry.all():
            copies.take(model)
        announce()
        os.environ[FOLDER_VARIABLE] = str(Path(folder, _METRICS))  # before the workers import prometheus_client
        supervisor = Supervisor(settings, listener, Path(folder), copies)
        with polling(registry, settings, copies, supervisor):
            supervisor.run()


@contextmanager
def polling(registry: Registry, settings: Settings, copies: Copies, supervisor: "Supervisor") -> Iterator[None]:
    """Meanwhile, what has changed is loaded and proved here, and then copied for all workers."""
    if settings.poll_s is None:
        yield
        return
    registry.on_load = copies.take
    poller = Poller(registry, settings.poll_s, lambda: supervisor.serve_from(copies.stock()))
    poller.start()
    try:
        yield
    finally:
        poller.stop()


class _Worker:
    """One process, as its parent sees it. `failures` counts the starts in a row that came to nothing; `told` and `has`
    are the numbers of the stock that it was told to serve from, and of that which it serves from.
    """

    def __init__(self, work_with: tuple[Settings, socket.socket, Path], stock: Stock, failures: int = 0) -> None:
        self.pipe, far_end = _SPAWN.Pipe()
        self.failures, self.ready = failures, False
        self.told, self.has = 0 if stock.refused else stock.number, stock.number
        settings, listener, folder = work_with
        work_for = replace(settings, pinned=stock.pinned), listener, far_end, folder
        self.process: BaseProcess = _SPAWN.Process(target=work, args=work_for)
        self.process.start()
        far_end.close()

    def tell(self, what: str | Stock) -> None:
        with suppress(OSError):  # it has ended
            self.pipe.send(what)

    def serve_from(self, stock: Stock) -> None:
        """Tells it, once it has what it was told before: a pipe that nobody reads would be full one day."""
        if self.told <= self.has and self.told < stock.number:
            self.told = stock.number
            self.tell(stock)

    def hear(self) -> None:
        with suppress(OSError, EOFError):
            while self.pipe.poll():
                said = self.pipe.recv()
                if said == READY:
                    self.ready, self.failures = True, 0
                else:
                    self.has = said


class Supervisor:
    """Keeps the workers running, and passes on what signals say and what they are to serve."""

    def __init__(self, settings: Settings, listener: socket.socket, folder: Path, copies: Copies) -> None:
        self._settings, self._listener, self._folder = settings, listener, folder
        self._copies, self._stock = copies, copies.stock()
        self._told: list[str] = []
        self._workers: list[_Worker] = []
        # when each is to be started, after how many failures
        self._waiting = [(0.0, 0)] * settings.workers

    def run(self) -> None:
        """Returns when told to stop and all have ended. Raises TorchlessError if none could start at first."""
        with self._signals():
            try:
                while not self._told:
                    self._watch()
                self._listener.close()  # from now on the workers alone accept
                self._see_out()
            finally:
                for worker in self._workers:
                    worker.process.kill()
                    worker.process.join()

    def serve_from(self, stock: Stock) -> None:
        """Soon, all workers serve what is in this stock, those too that are started later. From any thread."""
        self._stock = stock

    def _watch(self) -> None:
        self._start_due()
        for worker in self._workers:
            worker.serve_from(self._stock)
        pipes: list[Connection | int] = [worker.pipe for worker in self._workers]
        wait([*pipes, *(worker.process.sentinel for worker in self._workers)], _WATCH_S)
        for worker in [*self._workers]:
            worker.hear()
            if not worker.process.is_alive():
                self._workers.remove(worker)
                self._replace(worker)
        self._copies.discard(min((worker.has for worker in self._workers), default=0))

    def _start_due(self) -> None:
        now, work_with = time.monotonic(), (self._settings, self._listener, self._folder)
        for due, failures in [one for one in self._waiting if one[0] <= now]:
            self._waiting.remove((due, failures))
            try:
                self._workers.append(_Worker(work_with, self._stock, failures))
            except OSError as error:  # no memory, or too many processes
                what = f"a worker could not be started: {error.strerror or error}"
                if not failures:
                    raise TorchlessError(what) from None
                _LOG.error("%s; that is tried again", what)
                self._waiting.append((now + pause_s(failures), failures + 1))

    def _replace(self, worker: _Worker) -> None:
        self._forget(worker)
        if self._told:
            return
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        if not (worker.ready or worker.failures or how.startswith("was killed")):
            raise TorchlessError("a worker process could not start; the reason is above") from None
        pause = pause_s(worker.failures) if not worker.ready else 0.0
        _LOG.error("worker %d %s; another is started%s", worker.process.pid, how, f" in {pause:g} s" if pause else "")
        self._waiting.append((time.monotonic() + pause, worker.failures + 1))

    def _see_out(self) -> None:
        """Tells the workers what the signals said, until all have ended."""
        settings, told = self._settings, 0
        end_at = time.monotonic() + settings.drain_delay_s + settings.deadline_s + settings.body_timeout_s + _SPARE_S
        while any(worker.process.is_alive() for worker in self._workers) and time.monotonic() < end_at:
            for what in self._told[told:]:
                for worker in self._workers:
                    worker.tell(what)
            told = len(self._told)
            wait([worker.process.sentinel for worker in self._workers if worker.process.is_alive()], _WATCH_S)
        for worker in self._workers:
            if worker.process.is_alive():
                _LOG.error("worker %d did not end in time, and is killed", worker.process.pid)

    @staticmethod
    def _forget(worker: _Worker) -> None:
        worker.pipe.close()
        if worker.process.pid is not None:
            multiprocess.mark_process_dead(worker.process.pid)  # type: ignore[no-untyped-call]

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, _: FrameType | None) -> None:
            self._told.append(STOP if number == signal.SIGINT or self._told else DRAIN)

        before = {number: signal.signal(number, note) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
