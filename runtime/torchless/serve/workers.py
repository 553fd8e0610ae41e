"""Several server processes behind one socket: they load what their parent has proved, are replaced when they die, and
drain and end with it.
"""

import logging
import multiprocessing
import os
import shutil
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import FrameType

from prometheus_client import multiprocess

from torchless.cpus import available_cpus
from torchless.errors import TorchlessError, UsageError
from torchless.model.signing import SUFFIX
from torchless.serve.metrics import FOLDER_VARIABLE
from torchless.serve.models import Registry
from torchless.serve.process import configure_process, leave_now, stop_signals
from torchless.serve.server import Server, end, make_service
from torchless.serve.settings import Pinned, Settings

_LOG = logging.getLogger("torchless.serve")
_SPAWN = multiprocessing.get_context("spawn")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 30.0  # before a worker is started again; doubled while it cannot start
_SPARE_S = 15.0  # longer than a worker's own last resort
_WATCH_S = 0.1  # how soon a signal is seen
_READY_POLL_S = 0.05
# what the parent says, and a worker: a closed pipe means that the other has ended
_DRAIN, _STOP, _READY = "drain", "stop", "ready"
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
        pinned = pin(registry, settings, Path(folder, _MODELS))
        announce()
        os.environ[FOLDER_VARIABLE] = str(Path(folder, _METRICS))  # before the workers import prometheus_client
        Supervisor(replace(settings, pinned=pinned), listener, Path(folder)).run()


def pin(registry: Registry, settings: Settings, folder: Path) -> dict[str, Pinned]:
    """Copies of all loaded models in `folder`. Raises UsageError if a file has changed since it was loaded."""
    pinned = {}
    for model in registry.all():
        artifact, home = model.classifier.artifact, folder / model.name
        home.mkdir()
        signature = [Path(f"{artifact.path}{SUFFIX}")] if settings.opening.require_signature is not None else []
        try:
            for path in (*artifact.files, *signature):
                shutil.copyfile(path, home / path.name)
        except OSError as error:
            raise UsageError(f"cannot copy {model.name} for the workers: {error.strerror or error}") from None
        if registry.file_changed(model):
            raise UsageError(f"{artifact.path} changed while it was being loaded; start the server again")
        pinned[model.name] = Pinned(home / artifact.path.name, model.file_state)
    return pinned


class _Worker:
    """One process, as its parent sees it. `failures` counts the starts in a row that came to nothing."""

    def __init__(self, settings: Settings, listener: socket.socket, folder: Path, failures: int = 0) -> None:
        self.pipe, far_end = _SPAWN.Pipe()
        self.failures, self.ready = failures, False
        self.process: BaseProcess = _SPAWN.Process(target=work, args=(settings, listener, far_end, folder))
        self.process.start()
        far_end.close()

    def tell(self, what: str) -> None:
        with suppress(OSError):  # it has ended
            self.pipe.send(what)

    def hear(self) -> None:
        with suppress(OSError, EOFError):
            if self.pipe.poll() and self.pipe.recv() == _READY:
                self.ready, self.failures = True, 0


class Supervisor:
    """Keeps the workers running, and passes on what signals say."""

    def __init__(self, settings: Settings, listener: socket.socket, folder: Path) -> None:
        self._settings, self._listener, self._folder = settings, listener, folder
        self._told: list[str] = []
        self._workers: list[_Worker] = []
        self._waiting: list[tuple[float, int]] = []  # when a worker is to be started again, after how many failures

    def run(self) -> None:
        """Returns when told to stop and all have ended. Raises TorchlessError if none could start at first."""
        with self._signals():
            self._workers = [self._start() for _ in range(self._settings.workers)]
            try:
                while not self._told:
                    self._watch()
                self._listener.close()  # from now on the workers alone accept
                self._see_out()
            finally:
                for worker in self._workers:
                    worker.process.kill()
                    worker.process.join()

    def _start(self, failures: int = 0) -> _Worker:
        return _Worker(self._settings, self._listener, self._folder, failures)

    def _watch(self) -> None:
        pipes: list[Connection | int] = [worker.pipe for worker in self._workers if not worker.ready]
        wait([*pipes, *(worker.process.sentinel for worker in self._workers)], _WATCH_S)
        for worker in [*self._workers]:
            worker.hear()
            if not worker.process.is_alive():
                self._workers.remove(worker)
                self._replace(worker)
        now = time.monotonic()
        for due, failures in [one for one in self._waiting if one[0] <= now]:
            self._waiting.remove((due, failures))
            self._workers.append(self._start(failures))

    def _replace(self, worker: _Worker) -> None:
        self._forget(worker)
        if self._told:
            return
        code = worker.process.exitcode
        how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
        if not (worker.ready or worker.failures or how.startswith("was killed")):
            raise TorchlessError("a worker process could not start; the reason is above") from None
        pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2**worker.failures) if not worker.ready else 0.0
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
            self._told.append(_STOP if number == signal.SIGINT or self._told else _DRAIN)

        before = {number: signal.signal(number, note) for number in stop_signals()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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
    leash.server = server = Server(settings, service)
    server.stop_signals = [signal.SIGTERM]
    with _shared(folder, leash):
        server.run([listener])
    end(service, forced=server.force_exit)


class _Leash(threading.Thread):
    """Does what the parent says. When it has ended, the worker drains as on SIGTERM, or ends at once."""

    def __init__(self, parent: Connection) -> None:
        super().__init__(daemon=True)
        self._parent = parent
        self.server: Server | None = None
        self.is_torn = False

    def run(self) -> None:
        try:
            while not (self.server is not None and self.server.started):
                if self._parent.poll(_READY_POLL_S):
                    self._obey(self._parent.recv())
            self._parent.send(_READY)
            while True:
                self._obey(self._parent.recv())
        except (OSError, EOFError):
            self.is_torn = True
            self._obey(_DRAIN)

    def _obey(self, what: str) -> None:
        if self.server is None:
            leave_now(0)
        elif what == _DRAIN:
            self.server.drain()
        else:
            self.server.stop()


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
