"""How fast one connection may be read: small pieces cost more than they bring, so those of all connections together
get a fixed share of the event loop.
"""

import time
from collections.abc import Callable

from uvicorn.protocols.http.flow_control import FlowControl

_PIECES_A_SECOND = 10_000.0  # of all connections; each takes some microseconds
_FREE_PIECES = 64.0  # of each request
_BYTES_A_PIECE = 512  # a piece that brings as many costs nothing


class Pace:
    """The times at which connections that send small pieces are read again; one for all connections of a process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._free_at = clock, 0.0

    def wait_s(self, pieces: float) -> float:
        """How long the connection that sent so many pieces has to wait, in seconds."""
        now = self._clock()
        self._free_at = max(now, self._free_at) + pieces / _PIECES_A_SECOND
        return self._free_at - now


class Pieces:
    """What one request's pieces cost: each read and each chunk counts, and the bytes that it brings against it."""

    def __init__(self) -> None:
        self._cost = 0.0

    def add(self, size: int) -> None:
        """Counts a piece of `size` bytes."""
        self._cost = max(0.0, self._cost + 1 - size / _BYTES_A_PIECE)

    def take_excess(self) -> float:
        """How many pieces there were beyond those that are free; each is told once."""
        excess = max(0.0, self._cost - _FREE_PIECES)
        self._cost -= excess
        return excess


class Flow(FlowControl):
    """uvicorn's flow control of one connection, which reads nothing while it is `held`."""

    held = False

    def hold(self) -> None:
        self.held = True
        self.pause_reading()

    def release(self) -> None:
        self.held = False
        self.resume_reading()

    def resume_reading(self) -> None:
        if not self.held:
            super().resume_reading()
