"""Processes, sockets and signals around the application: uvicorn, plus what it lacks."""

import asyncio
import ipaddress
import logging
import math
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import EADDRINUSE
from types import FrameType

import uvicorn

from torchless.errors import UsageError
from torchless.serve.app import create_app
from torchless.serve.bodies import Bodies
from torchless.serve.connection import Config
from torchless.serve.descriptors import connections_for
from torchless.serve.hands import Hands, suits
from torchless.serve.metrics import Metrics
from torchless.serve.polling import Poller
from torchless.serve.process import leave_now, stop_signals
from torchless.serve.registry import Registry
from torchless.serve.service import Service
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")
_BACKLOG = 2048
_FORCED_S, _SPARE_S = 3.0, 10.0  # until the process ends itself: after a second Ctrl-C, and after all other limits


def end(service: Service, *, forced: bool) -> None:
    """The last line of the log. The process ends here if it must not wait, or if threads are still at work for requests
    that are answered: the interpreter would wait for them.
    """
    if service.left_behind:
        _LOG.warning("images or models that were still being worked on are left behind: %d", service.left_behind)
    _LOG.info("stopped")
    if forced or service.left_behind:
        leave_now(0)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 picks a free port. Raises UsageError."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.create_server(address[:2], family=family, backlog=_BACKLOG)
    except OSError as error:
        why = (error.strerror or str(error)).partition(" (while ")[0]  # the address again
        other = "; give another `port`" * (error.errno == EADDRINUSE)
        raise UsageError(f"cannot listen on {host} port {port}: {why}{other}") from None
    listener.set_inheritable(True)
    return listener


def make_service(settings: Settings, registry: Registry) -> Service:
    """A service that has not started yet."""
    hands = Hands(settings, settings.image_processes) if settings.image_processes else None
    if hands is not None:
        registry.on_load = hands.take
    return Service(
        settings,
        registry,
        Metrics(max_batch_size=settings.batch_size(exclusive=True), shared=settings.workers > 1),
        Bodies(
            max_bytes=settings.max_body_bytes,
            max_total_bytes=settings.max_bodies_bytes,
            timeout_s=settings.body_timeout_s,
        ),
        hands,
        # workers are told by their parent
        Poller(registry, settings.poll_s) if settings.poll_s is not None and not settings.pinned else None,
    )


class Server(uvicorn.Server):
    """uvicorn's server, which on SIGTERM or SIGHUP reports that it is not ready for a while before it stops, resets no
    request in flight, and ends with exit code 0.
    """

    def __init__(self, settings: Settings, service: Service) -> None:
        connections = connections_for(settings.max_connections)
        config = Config(settings, create_app(service), connections=connections)
        super().__init__(config)
        self._graceful_s = config.graceful_s
        self._settings, self._service = settings, service
        self._drain_until = math.inf
        self.stop_signals = stop_signals()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in self.stop_signals}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None = None) -> None:
        if sig == signal.SIGINT or self._drain_until < math.inf:
            self.stop()
        else:
            self.drain()

    def drain(self) -> None:
        """Reports that it is not ready, and stops after the delay."""
        if self._drain_until == math.inf:
            self._service.stop()
            self._drain_until = time.monotonic() + self._settings.drain_delay_s
            self._end_within(self._settings.drain_delay_s + self._graceful_s + _SPARE_S)

    def stop(self) -> None:
        """Finishes what it accepted; told so again, it does not wait for that."""
        self._service.stop()
        if self.should_exit:
            self.force_exit = True
            self._end_within(_FORCED_S)
        else:
            self.should_exit = True
            self._end_within(self._graceful_s + _SPARE_S)

    async def on_tick(self, counter: int) -> bool:
        """Called by uvicorn every 0.1 s."""
        self.should_exit = self.should_exit or time.monotonic() >= self._drain_until
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._take_the_last(sockets or [])
        await super().shutdown(sockets)

    async def _take_the_last(self, listeners: list[socket.socket]) -> None:
        """Accepts the connections that clients have made already: closing the listener would reset them."""
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)
        for listener in listeners:
            with suppress(OSError):  # nothing waits, or another process took it
                listener.setblocking(False)
                while True:
                    accepted, _ = listener.accept()
                    accepted.setblocking(False)
                    await loop.connect_accepted_socket(self._protocol, accepted)

    def _protocol(self) -> asyncio.Protocol:
        protocol = self.config.http_protocol_class
        return protocol(config=self.config, server_state=self.server_state, app_state=self.lifespan.state)  # type: ignore[call-arg]

    def _end_within(self, seconds: float) -> None:
        """The process ends after that time even if the event loop or a thread is stuck."""
        watch = threading.Timer(seconds, self._give_up)
        watch.daemon = True
        watch.start()

    def _give_up(self) -> None:
        _LOG.error("stopped by force: something did not end in time")
        leave_now(1)


def announce(settings: Settings, registry: Registry, host: str, port: int) -> None:
    """Logs what is served and where, and a warning if anyone may use it."""
    for model in registry.all():
        classifier = model.classifier
        note = f" ({classifier.device_note})" if classifier.device_note else ""
        processes = settings.image_processes if suits(model) else 0
        where = f", {processes} processes for images" if processes else ""
        _LOG.info("model %s: %d classes, %s%s%s", model.label, len(classifier.labels), classifier.device, where, note)
    _LOG.info("listening on http://%s:%d", f"[{host}]" if ":" in host else host, port)
    if not ipaddress.ip_address(host.partition("%")[0]).is_loopback and not settings.api_keys:
        _LOG.warning(
            "anyone who can reach %s may use this server: give it API keys, or put it behind a proxy that "
            "authenticates",
            host,
        )
