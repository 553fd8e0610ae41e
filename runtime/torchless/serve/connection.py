"""uvicorn's HTTP connections, with limits that cut off slow clients."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from torchless.serve.settings import Settings

_KEEP_ALIVE_S = 75  # longer than most load balancers keep an idle connection (60 s), so that they close it first


class Config(uvicorn.Config):
    """uvicorn's settings. `app` is the application or, with `factory`, a function that creates it."""

    def __init__(self, settings: Settings, app: Any, *, factory: bool = False) -> None:
        super().__init__(
            app,
            factory=factory,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=math.ceil(settings.deadline_s + settings.body_timeout_s) + 5,
            workers=settings.workers,
        )
        self.header_timeout_s, self.body_timeout_s = settings.header_timeout_s, settings.body_timeout_s


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which cuts off clients that send their headers or read their response too slowly."""

    config: Config

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._headers, self._answer = _Timer(self.loop, transport.abort), _Timer(self.loop, transport.abort)
        self._headers.start(self.config.header_timeout_s)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._headers.runs and (self.cycle is None or self.cycle.response_complete):
            self._headers.start(self.config.header_timeout_s)

    def on_headers_complete(self) -> None:
        self._headers.stop()
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._answer.start(self.config.body_timeout_s)

    def resume_writing(self) -> None:
        self._answer.stop()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, and cuts one that has not yet read its last response."""
        if self.transport.get_write_buffer_size():
            self.transport.abort()
        super().timeout_keep_alive_handler()

    def connection_lost(self, exc: Exception | None) -> None:
        self._headers.stop()
        self._answer.stop()
        super().connection_lost(exc)


class _Timer:
    """Calls `action` after `seconds`, unless it is stopped."""

    def __init__(self, loop: asyncio.AbstractEventLoop, action: Callable[[], None]) -> None:
        self._loop, self._action = loop, action
        self._handle: asyncio.TimerHandle | None = None

    @property
    def runs(self) -> bool:
        return self._handle is not None

    def start(self, seconds: float) -> None:
        self.stop()
        self._handle = self._loop.call_later(seconds, self._action)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None
