"""Request bodies, in bounded memory and bounded time."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from starlette.requests import ClientDisconnect, Request

from torchless.serve.errors import (
    BodyTooLargeError,
    ClientGoneError,
    OverloadedError,
    SlowBodyError,
)
from torchless.serve.unpacking import encoding_of, unpacked

_GRACE_S = (
    2.0  # for a refused body still being sent: closing the connection too early would lose the response that says why
)


class Bodies:
    """Reads bodies of at most `max_bytes`, within `timeout_s`; those of all requests together hold at most
    `max_total_bytes`.
    """

    def __init__(self, *, max_bytes: int, max_total_bytes: int, timeout_s: float) -> None:
        self._max_bytes, self._max_total_bytes, self._timeout_s = max_bytes, max_total_bytes, timeout_s
        self._held = 0

    @asynccontextmanager
    async def read(self, request: Request) -> AsyncIterator[bytes]:
        """The body, unpacked if it is compressed, which counts as held until the block ends. Raises the RequestErrors
        with status 400, 408, 413, 415, 499 and 503.
        """
        reserved = 0
        encoding = encoding_of(request.headers.get("content-encoding", ""))
        try:
            try:
                self._check(_declared_length(request))
                chunks: list[bytes] = []
                async with asyncio.timeout(self._timeout_s):
                    async for chunk in request.stream():
                        self._check(reserved + len(chunk))
                        reserved += self._reserve(len(chunk))
                        chunks.append(chunk)
            except TimeoutError:
                raise SlowBodyError(f"the body did not arrive within {self._timeout_s:g} s") from None
            except ClientDisconnect:
                raise ClientGoneError("the client hung up") from None
            except (BodyTooLargeError, OverloadedError):
                await self._discard(request)
                raise
            body = b"".join(chunks)
            chunks.clear()
            if encoding is not None:
                pieces, size = unpacked(body, encoding), 0  # both are held
                while piece := await asyncio.to_thread(next, pieces, b""):
                    size += len(piece)
                    self._check(size)
                    reserved += self._reserve(len(piece))
                    chunks.append(piece)
                del pieces
                body = b"".join(chunks)
                chunks.clear()
            yield body
        finally:
            self._held -= reserved

    @contextmanager
    def hold(self, size: int) -> Iterator[None]:
        """Counts a message that has arrived otherwise as held until the block ends. Raises OverloadedError (503)."""
        self._reserve(size)
        try:
            yield
        finally:
            self._held -= size

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLargeError(
                f"the body has more than {self._max_bytes} bytes, the most that one request may have (--max-body-mb)"
            )

    def _reserve(self, size: int) -> int:
        """Counts `size` bytes that have arrived, and returns them: what is only announced takes no room."""
        if self._held + size > self._max_total_bytes:
            raise OverloadedError("too many request bodies are held at once (--max-bodies-mb)", 1)
        self._held += size
        return size

    async def _discard(self, request: Request) -> None:
        """Lets a sending client continue for a moment. One that asks first (Expect: 100-continue) is not told to
        send.
        """
        if request.headers.get("expect", "").lower() == "100-continue":
            return
        left = 4 * self._max_bytes
        try:
            async with asyncio.timeout(_GRACE_S):
                while (
                    left > 0
                    and (message := await request.receive())["type"] == "http.request"
                    and message.get("more_body")
                ):
                    left -= len(message.get("body", b""))
        except TimeoutError:
            pass


def _declared_length(request: Request) -> int:
    return int(request.headers.get("content-length", 0))  # the HTTP parser accepts only a number
