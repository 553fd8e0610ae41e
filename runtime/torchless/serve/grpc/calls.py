"""A call over gRPC: its key, its message within the limits of HTTP's bodies, its status, and the log.

The methods of the protocol take one message each, which gRPC would read before it calls them. Here they are taken for
streams, which looks the same on the wire, so that keys are checked and room is found before a message is read.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from torchless.errors import TorchlessError
from torchless.serve.access import Keys
from torchless.serve.documents import PARSED_AT_ONCE, in_thread_if
from torchless.serve.errors import RequestError, SlowBodyError, UnauthenticatedError, status_of
from torchless.serve.grpc.bounds import check_bounds
from torchless.serve.logs import request_log
from torchless.serve.models import ServedModel
from torchless.serve.service import Service

_LOG = logging.getLogger("torchless.serve")
_CODES = {
    400: grpc.StatusCode.INVALID_ARGUMENT, 401: grpc.StatusCode.UNAUTHENTICATED,
    403: grpc.StatusCode.PERMISSION_DENIED, 404: grpc.StatusCode.NOT_FOUND,
    408: grpc.StatusCode.DEADLINE_EXCEEDED, 413: grpc.StatusCode.RESOURCE_EXHAUSTED, 499: grpc.StatusCode.CANCELLED,
    503: grpc.StatusCode.UNAVAILABLE, 504: grpc.StatusCode.DEADLINE_EXCEEDED,
}  # fmt: skip

Reply = tuple[bytes, ServedModel | None]  # the answer, and the model that gave it
Answer = Callable[[Any, Any], Awaitable[Reply]]  # of the method's message, and the call's context


class Calls:
    """What all calls of one service share. Messages that are being received at once are as many as fit into
    `max_bodies_bytes` at their largest: gRPC does not show how much of one has arrived.
    """

    def __init__(self, service: Service) -> None:
        settings = service.settings
        self._service, self._keys = service, Keys(settings.api_keys)
        self._receiving = asyncio.Semaphore(max(1, settings.max_bodies_bytes // settings.max_body_bytes))

    def method(self, path: str, request_class: Any, answer: Answer) -> Callable[[Any, Any], Awaitable[bytes]]:
        """gRPC's handler of the method at `path`. One without a `request_class` needs no key, and its message is not
        read.
        """

        async def handle(_: Any, context: Any) -> bytes:
            start, status = time.perf_counter(), 200
            model: ServedModel | None = None
            try:
                if request_class is None:
                    content, model = await answer(None, context)
                else:
                    self._check_key(context)
                    content, model = await self._answered(request_class, answer, context)
                return content
            except TorchlessError as error:
                status = status_of(error)
                await _abort(context, status, error)
            except asyncio.CancelledError:
                status = 499
                raise
            except Exception:  # a defect of ours: logged in full, and hidden from the client
                status = 500
                _LOG.exception("unforeseen error in %s", path)
                await context.abort(grpc.StatusCode.INTERNAL, "internal error; the server's log has the details")
            finally:
                self._record(path, status, time.perf_counter() - start, model, context)
            raise AssertionError  # abort raises

        return handle

    async def _answered(self, request_class: Any, answer: Answer, context: Any) -> Reply:
        raw = await self._received(context)
        with self._service.bodies.hold(len(raw)):
            parsed = await in_thread_if(len(raw) > PARSED_AT_ONCE, self._parsed, raw, request_class)
            del raw
            return await answer(parsed, context)

    async def _received(self, context: Any) -> bytes:
        timeout_s = self._service.settings.body_timeout_s
        try:
            async with asyncio.timeout(timeout_s), self._receiving:
                raw = await context.read()
        except TimeoutError:
            raise SlowBodyError(f"the message did not arrive within {timeout_s:g} s") from None
        if not isinstance(raw, bytes):  # the end of the stream
            raise RequestError("the call has no message")
        return raw

    def _parsed(self, raw: bytes, request_class: Any) -> Any:
        check_bounds(raw, request_class.DESCRIPTOR, self._service.settings.max_queue)
        try:
            return request_class.FromString(raw)
        except DecodeError:
            raise RequestError(f"the message is no {request_class.DESCRIPTOR.name}") from None

    def _check_key(self, context: Any) -> None:
        given = dict(context.invocation_metadata() or ()).get("authorization", "")
        if not self._keys.fit(given if isinstance(given, str) else ""):
            raise UnauthenticatedError("an API key is required, as metadata: authorization: Bearer KEY")

    def _record(self, path: str, status: int, seconds: float, model: ServedModel | None, context: Any) -> None:
        self._service.metrics.request_done(path, model, status, seconds)
        request_log({"method": "gRPC", "path": path, "client": _client(context.peer())}, status, seconds, model)


async def _abort(context: Any, status: int, error: TorchlessError) -> None:
    headers = error.headers.items() if isinstance(error, RequestError) else ()
    trailing = [(name, value) for name, value in headers if name == "retry-after"]
    await context.abort(_CODES.get(status, grpc.StatusCode.INTERNAL), str(error), tuple(trailing))


def _client(peer: str) -> tuple[str] | None:
    """The address in gRPC's ipv4:127.0.0.1:5000 or ipv6:%5B::1%5D:5000."""
    address = peer.partition(":")[2].rpartition(":")[0].replace("%5B", "").replace("%5D", "")
    return (address,) if address else None
