"""Request bodies, in bounded memory and bounded time."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from torchless.serve.errors import (
    BodyTooLargeError,
    ClientGoneError,
    OverloadedError,
    RequestError,
    SlowBodyError,
)
from torchless.serve.unpacking import encoding_of, unpacked

_GRACE_S = (
    2.0  # for a refused body still being sent: closing the connection too early would lose the response that says why
)
_MAX_FIELDS = 16


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

    def _check(self, size: int) -> None:
        if size > self._max_bytes:
            raise BodyTooLargeError(
                f"the body has more than {self._max_bytes} bytes, the most that one request may have (max_body_bytes)"
            )

    def _reserve(self, size: int) -> int:
        """Counts `size` bytes that have arrived, and returns them: what is only announced takes no room."""
        if self._held + size > self._max_total_bytes:
            raise OverloadedError("too many request bodies are held at once (max_bodies_bytes)", 1)
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


class _InMemory(MultiPartParser):
    spool_max_size = 0  # never to disk: the body is in memory already, and bounded


async def files_of(request: Request, body: bytes) -> list[tuple[str | None, bytes]]:
    """(name, content) of each file in a multipart body, in order. Raises RequestError if it is malformed or holds no
    file.
    """

    async def stream() -> AsyncGenerator[bytes, None]:
        yield body

    try:
        form = await _InMemory(request.headers, stream(), max_files=float("inf"), max_fields=_MAX_FIELDS).parse()
    except (MultiPartException, ValueError) as error:  # ValueError: a codec of Python that is not for text
        raise RequestError(f"the multipart body is malformed: {getattr(error, 'message', error)}") from None
    files = [(part.filename, await part.read()) for _, part in form.multi_items() if isinstance(part, UploadFile)]
    await form.close()
    if not files:
        raise RequestError(
            "the multipart body holds no file; send each image as a part with a filename, as: curl -F image=@cat.jpg"
        )
    return files
