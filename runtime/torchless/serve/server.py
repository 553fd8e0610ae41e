"""Processes, sockets and signals around the application: uvicorn, plus what it lacks."""

import ipaddress
import logging
import math
import os
import signal
import socket
import sys
import tempfile
import time
from functools import partial
from types import FrameType

import uvicorn
from prometheus_client import multiprocess
from starlette.applications import Starlette
from uvicorn.config import STARTUP_FAILURE
from uvicorn.supervisors import Multiprocess

from torchless.cpus import available_cpus
from torchless.errors import TorchlessError, UsageError
from torchless.image.decode import take_pillow_over
from torchless.serve import logs
from torchless.serve.app import create_app
from torchless.serve.bodies import Bodies
from torchless.serve.connection import Config
from torchless.serve.metrics import FOLDER_VARIABLE, Metrics
from torchless.serve.models import Registry
from torchless.serve.service import Service
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")
_NOT_READY = signal.SIGUSR1  # from the parent to its workers
_BACKLOG = 2048
# how often Python's threads take turns; at the default of 5 ms, a thread back from inference waits long for the event
# loop
_SWITCH_S = 1e-4


def serve(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what it accepted.

    Raises ArtifactError, DeviceError or UsageError before it listens.
    """
    configure_process(settings)
    registry = Registry(settings)
    registry.load_all()
    with listen(settings.host, settings.port) as listener:
        announce(settings, registry, *listener.getsockname()[:2])
        if settings.workers == 1:
            Server(settings, make_service(settings, registry)).run([listener])
        else:
            del registry  # it was loaded only to check that it can be
            _serve_in_workers(settings, listener)
    _LOG.info("stopped")


def configure_process(settings: Settings) -> None:
    """Settings of the whole process: logs, and how threads take turns."""
    logs.configure(settings.log_format)
    sys.setswitchinterval(_SWITCH_S)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free port. Raises UsageError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        raise UsageError(f"cannot listen on {host} port {port}: {error.strerror or error}") from None
    listener.set_inheritable(True)
    return listener


def make_service(settings: Settings, registry: Registry) -> Service:
    """A service that has not started yet."""
    return Service(
        settings,
        registry,
        Metrics(max_batch_size=settings.max_batch_size, shared=settings.workers > 1),
        Bodies(
            max_bytes=settings.max_body_bytes,
            max_total_bytes=settings.max_bodies_bytes,
            timeout_s=settings.body_timeout_s,
        ),
    )


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM reports that it is not ready for a while before it stops, and ends with exit
    code 0.
    """

    def __init__(self, settings: Settings, service: Service) -> None:
        super().__init__(Config(settings, create_app(service)))
        self._settings, self._service = settings, service
        self._drain_until = math.inf

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._service.stop()
        if sig == signal.SIGTERM and self._drain_until == math.inf:
            self._drain_until = time.monotonic() + self._settings.drain_delay_s
        elif self.should_exit:
            self.force_exit = True
        else:
            self.should_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn every 0.1 s."""
        self.should_exit = self.should_exit or time.monotonic() >= self._drain_until
        return await super().on_tick(counter)


def _serve_in_workers(settings: Settings, listener: socket.socket) -> None:
    with tempfile.TemporaryDirectory(prefix="torchless-metrics-") as folder:
        os.environ[FOLDER_VARIABLE] = folder  # before the workers import prometheus_client
        supervisor = _Supervisor(Config(settings, partial(_worker_app, settings), factory=True), [listener])
        supervisor.drain_delay_s = settings.drain_delay_s
        supervisor.run()
    if not supervisor.told_to_stop:
        raise TorchlessError("a worker process could not start; the reason is above")


class _Supervisor(Multiprocess):
    """uvicorn's supervisor, which tells its workers to report that they are not ready, and a while later to stop."""

    drain_delay_s = 0.0
    told_to_stop = False

    def keep_subprocess_alive(self) -> None:
        for process in self.processes:
            if process.pid is not None and not process.process.is_alive():
                multiprocess.mark_process_dead(process.pid)  # type: ignore[no-untyped-call]
        super().keep_subprocess_alive()

    def handle_term(self) -> None:
        self.told_to_stop = True
        for process in self.processes:
            if process.pid is not None and process.process.is_alive():
                os.kill(process.pid, _NOT_READY)
        time.sleep(self.drain_delay_s)
        super().handle_term()

    def handle_int(self) -> None:
        self.told_to_stop = True
        super().handle_int()


def _worker_app(settings: Settings) -> Starlette:
    """Called in each worker process."""
    take_pillow_over(available_cpus())
    configure_process(settings)
    registry = Registry(settings)
    try:
        registry.load_all()
    except TorchlessError as error:
        _LOG.error("%s", error)
        sys.exit(STARTUP_FAILURE)
    service = make_service(settings, registry)
    signal.signal(_NOT_READY, lambda *_: service.stop())
    return create_app(service)


def announce(settings: Settings, registry: Registry, host: str, port: int) -> None:
    """Logs what is served and where, and a warning if anyone may use it."""
    for model in registry.all():
        classifier = model.classifier
        note = f" ({classifier.device_note})" if classifier.device_note else ""
        _LOG.info("model %s: %d classes, %s%s", model.name, len(classifier.labels), classifier.device, note)
    _LOG.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback and not settings.api_keys:
        _LOG.warning(
            "anyone who can reach %s may use this server: give it API keys, or put it behind a proxy that "
            "authenticates",
            host,
        )
