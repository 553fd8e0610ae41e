"""uvicorn's HTTP connections, with limits on what a client may send, and when; and an end that loses no answer."""

import asyncio
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

import httptools
import orjson
import uvicorn
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from torchless.serve.occupancy import Occupancy, Waits
from torchless.serve.pace import Flow, Pace, Pieces
from torchless.serve.settings import Settings

MAX_HEAD_BYTES, MAX_HEADERS = 1 << 16, 256
_LOG = logging.getLogger("torchless.serve.requests")
_KEEP_ALIVE_S = 75  # longer than most load balancers keep an idle connection (60 s), so that they close it first
_PIECE, _BODY_PIECE = 1 << 12, 1 << 16  # bytes that the parser gets at once
_LINGER_S, _LINGER_BYTES = 1.0, 1 << 20  # closing before the client has would lose the answer on its way
_GRACE_S = 0.25  # a request on its way to a server that stops
_NOTHING = memoryview(b"")


class Config(uvicorn.Config):
    """uvicorn's settings of one process; `connections` is the most that it may hold."""

    def __init__(self, settings: Settings, app: Any, *, connections: int) -> None:
        self.graceful_s = math.ceil(settings.deadline_s + settings.body_timeout_s) + 5
        super().__init__(
            app,
            http=Connection,
            ws="none",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=self.graceful_s,
        )
        self.header_timeout_s, self.body_timeout_s = settings.header_timeout_s, settings.body_timeout_s
        self.max_body_bytes = settings.max_body_bytes
        self.pace, self.occupancy = Pace(), Occupancy(connections)


class Connection(HttpToolsProtocol):
    """uvicorn's HTTP protocol, which limits heads and trailers, reads small pieces slowly and cuts off slow clients."""

    config: Config
    flow: Flow

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.flow = Flow(transport)
        self._exit = _Exit(transport, self.leave)
        self._head, self._answer, self._farewell, self._pause = (
            _Timer(self.loop, action) for action in (transport.abort, transport.abort, self._end, self._advance)
        )
        self._rest, self._pieces = _NOTHING, Pieces()
        self._overhead = self._length = self._received = self._unanswered = 0
        self._in_message = self._in_body = self._deaf = self._leaving = self._stopping = False
        self._refusal: bytes | None = None
        self._head.start(self.config.header_timeout_s)
        room = self.config.occupancy.make_room()
        self.config.occupancy.put(self, Waits.NEW)
        if not room:
            self._refuse(503, "too many connections are open (max_connections); try again in 1 s", "retry-after: 1\r\n")

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        self.config.occupancy.touch(self)
        if self._leaving:
            self._received += len(data)
            if self._received > _LINGER_BYTES:
                self.transport.abort()
        elif not self._deaf:
            if self._in_body:
                self._pieces.add(0)
            elif not self._head.runs:
                self._head.start(self.config.header_timeout_s)
            self._rest = memoryview(bytes(self._rest) + data if self._rest else data)
            if not self._pause.runs:
                self._advance()

    def _advance(self) -> None:
        """Gives the parser what has arrived, in pieces, and stops where the rest has to wait."""
        while not self._deaf and self.parser is not None:
            if self.pipeline:  # a request is read when those before it are answered
                return self.flow.hold()
            if excess := self._pieces.take_excess():
                self._pause.start(self.config.pace.wait_s(excess))
                return self.flow.hold()
            if not self._rest:
                if self.cycle is None or len(self.cycle.body) <= HIGH_WATER_LIMIT:
                    return self.flow.release()
                self.flow.held = False
                return None
            left = self._length - self._received if self._in_body else 0
            self._feed(min(left, _BODY_PIECE) if left > 0 else _PIECE)
        return None

    def _feed(self, size: int) -> None:
        piece, self._rest = self._rest[:size], self._rest[size:]
        self._overhead += len(piece)
        try:
            self.parser.feed_data(piece)
            if self._overhead > MAX_HEAD_BYTES:
                raise _RefusalError(431, f"the request's line, headers or trailers exceed {MAX_HEAD_BYTES} bytes")
        except httptools.HttpParserUpgrade:  # to a protocol that is not spoken here
            self._deaf, self.cycle.keep_alive = True, False
            self.flow.hold()
        except httptools.HttpParserError as error:
            reason = error.__context__
            status, why = reason.args if isinstance(reason, _RefusalError) else (400, f"this is not HTTP: {error}")
            self._refuse(status, why)
        except _RefusalError as error:
            self._refuse(*error.args)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_message, self._length, self._received, self._pieces = True, 0, 0, Pieces()
        if not self._head.runs:
            self._head.start(self.config.header_timeout_s)

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_body:  # a trailer, which nothing here asks for
            return
        if len(self.headers) >= MAX_HEADERS:
            raise _RefusalError(431, f"the request has more than {MAX_HEADERS} headers")
        if name.lower() == b"content-length":
            self._length = int(value)
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._head.stop()
        self._overhead, self._in_body = 0, True
        super().on_headers_complete()
        self._unanswered += 1
        self.cycle.transport = self._exit  # type: ignore[assignment]
        if self._stopping:
            self.cycle.keep_alive = False
        self._settle()

    def on_body(self, body: bytes) -> None:
        self._overhead = 0
        self._received += len(body)
        self._pieces.add(len(body))
        if self.cycle.response_complete:
            if self._received > self.config.max_body_bytes:
                raise _RefusalError(413, "the body goes on after the answer")
            return
        self.cycle.body += body
        if len(self.cycle.body) > HIGH_WATER_LIMIT:  # until then it is worth no wake-up
            self.flow.pause_reading()
            self.cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._overhead, self._in_message, self._in_body = 0, False, False
        self._head.stop()
        self.cycle.more_body = False
        self.cycle.message_event.set()
        self._settle()

    def on_response_complete(self) -> None:
        self._unanswered -= 1
        if self._leaving:
            self.server_state.total_requests += 1
            self.pipeline.clear()
            return
        super().on_response_complete()
        if self._refusal is not None:
            self._say_refusal()
        elif self._in_body:  # an early answer
            self._head.start(self.config.header_timeout_s)
        if self.flow.held and not self._pause.runs:
            self.loop.call_soon(self._advance)
        self._settle()

    def _settle(self) -> None:
        cycle = self.cycle
        if self._leaving:
            place = Waits.LEAVING
        elif self.pipeline or (self._unanswered and not cycle.more_body):
            place = Waits.ANSWER
        else:
            place = Waits.BODY if cycle.more_body else Waits.IDLE
        self.config.occupancy.put(self, place)

    def _refuse(self, status: int, message: str, header: str = "") -> None:
        """Answers with an error when all earlier requests are answered, and reads nothing more."""
        client = {"client": self.client[0]} if self.client else {}
        _LOG.info("refused", extra={"fields": {"status": status, "reason": message, **client}})
        self._deaf, self._rest, self._refusal = True, _NOTHING, _error(status, message, header)
        self._head.stop()
        self.flow.hold()
        cycle = self.cycle
        if cycle is not None and cycle.more_body and not cycle.response_complete:  # the rest of its body is lost
            self.pipeline = deque(one for one in self.pipeline if one[0] is not cycle)
            self._refusal = b"" if cycle.response_started else self._refusal
            self._unanswered -= 1
            cycle.disconnected = True
            cycle.message_event.set()
        self._say_refusal()

    def _say_refusal(self) -> None:
        if not self._unanswered:
            self.transport.write(self._refusal or b"")
            self.leave()

    def leave(self) -> None:
        """Says that no more answers follow, and closes when the client does, or a moment later."""
        self._leaving = self._deaf = True
        self._rest, self._received = _NOTHING, 0
        self._head.stop()
        self._unset_keepalive_if_required()
        if self.transport.is_closing():
            return
        self.config.occupancy.put(self, Waits.LEAVING)
        self.transport.write_eof()
        self._leave_by = self.loop.time() + self.config.body_timeout_s
        self._farewell.start(_LINGER_S)
        self.flow.release()

    def _end(self) -> None:
        if self.transport.get_write_buffer_size() and self.loop.time() < self._leave_by:
            self._farewell.start(_LINGER_S)
        else:
            self.transport.abort()

    def make_way(self) -> None:
        """For another connection."""
        if self._leaving:
            self.transport.abort()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Answers what has arrived or is on its way, and leaves."""
        self._stopping = True
        if self._unanswered:
            self.cycle.keep_alive = False
        else:
            self.loop.call_later(_GRACE_S, self._leave_if_idle)

    def _leave_if_idle(self) -> None:
        if not (self._in_message or self._leaving or self._unanswered):
            self.leave()

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
        else:
            self.leave()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._head, self._answer, self._farewell, self._pause):
            timer.stop()
        self.config.occupancy.remove(self)
        super().connection_lost(exc)


class _RefusalError(Exception):
    """Status and message of an answer to what is not even a request."""


class _Exit:
    """What a request sees of the transport: it does not close at once."""

    def __init__(self, transport: asyncio.Transport, leave: Callable[[], None]) -> None:
        self.write, self.is_closing, self.close = transport.write, transport.is_closing, leave


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
        self._handle = self._loop.call_later(seconds, self._fire)

    def stop(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle = None

    def _fire(self) -> None:
        self._handle = None
        self._action()


def _error(status: int, message: str, header: str = "") -> bytes:
    body = orjson.dumps({"error": message})
    head = f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n{header}\r\n"
    return STATUS_LINE[status] + head.encode() + body
