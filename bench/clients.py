"""Clients of a server under load: each sends one image after the other over a connection that stays open, waits for
each answer (a closed loop), and checks it against its own image.

They run on the same processors as the server, so they must cost little: about 0.1 ms a request.
"""

import asyncio
import json
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import uvloop

from torchless import Prediction

BOUNDARY = "torchlessbench"
_PAUSE_S = 0.1  # after a 503; a client that obeyed Retry-After would wait longer


@dataclass
class Load:
    """What one load saw. `latencies` in seconds, of answers with status 200."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0

    @property
    def rate(self) -> float:
        """Answers a second."""
        return len(self.latencies) / self.seconds

    def to_dict(self) -> dict[str, Any]:
        ms = np.array(self.latencies or [np.nan]) * 1000
        percentiles = {f"p{p}_ms": round(float(np.percentile(ms, p)), 2) for p in (50, 95, 99)}
        return {
            "requests_per_second": round(self.rate, 1),
            **percentiles,
            "statuses": dict(self.statuses),
            "wrong_answers": self.wrong,
        }


def as_request(image: bytes) -> bytes:
    """A whole POST /classify with the image in a form, which all servers here take."""
    headers = 'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg'
    part = f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode()
    body = part + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    fields = f"Host: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}"
    return f"POST /classify HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body


def put_load(port: int, clients: int, seconds: float, requests: list[bytes], wanted: list[Prediction]) -> Load:
    """`clients` at once for `seconds`; `wanted` is the most probable class of each request's image."""

    async def main() -> Load:
        load, start = Load(seconds), time.perf_counter()
        checks = [_Check(one) for one in wanted]
        await asyncio.gather(
            *(_client(port, number, requests, checks, start + seconds, load) for number in range(clients))
        )
        load.seconds = time.perf_counter() - start
        return load

    return uvloop.run(main())


class _Check:
    """Whether an answer is right for one image. What has been found right once is compared as bytes."""

    def __init__(self, wanted: Prediction) -> None:
        self._wanted = wanted
        self._right: set[bytes] = set()

    def is_right(self, body: bytes) -> bool:
        if body not in self._right and _is_right(json.loads(body), self._wanted):
            self._right.add(body)
        return body in self._right


def _is_right(row: Any, wanted: Prediction) -> bool:
    best = (row[0] if isinstance(row, list) else row)["predictions"][0]
    return (
        best["index"] == wanted.index and abs(best.get("probability", wanted.probability) - wanted.probability) < 1e-3
    )


async def _client(port: int, number: int, requests: list[bytes], checks: list[_Check], end: float, load: Load) -> None:
    connection, which = await _connect(port), number
    while time.perf_counter() < end:
        which = (which + 1) % len(requests)
        start = time.perf_counter()
        head, body = await connection.ask(requests[which])
        status = head[9:12].decode()
        load.statuses[status] += 1
        if status == "200":
            load.latencies.append(time.perf_counter() - start)
            load.wrong += not checks[which].is_right(body)
        elif status == "503":
            await asyncio.sleep(_PAUSE_S)
        if b"connection: close" in head:
            connection.close()
            connection = await _connect(port)
    connection.close()


async def _connect(port: int) -> "_Connection":
    return (await asyncio.get_running_loop().create_connection(_Connection, "127.0.0.1", port))[1]


class _Connection(asyncio.Protocol):
    """One answer at a time: its head in lower case, and its body."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._transport, self._received = transport, b""
        self._answer: asyncio.Future[tuple[bytes, bytes]] | None = None

    def ask(self, request: bytes) -> "asyncio.Future[tuple[bytes, bytes]]":
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found or self._answer is None:
            return
        head = head.lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        if len(body) >= length:
            self._received = body[length:]
            self._answer.set_result((head, body[:length]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(exc or ConnectionError("the server closed a connection without an answer"))

    def close(self) -> None:
        self._transport.close()
