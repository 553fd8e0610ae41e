"""How many connections there are, and which is closed first where there are too many."""

from collections import OrderedDict
from enum import IntEnum
from typing import Protocol


class Waits(IntEnum):
    """What a connection waits for; those whose client owes the server something are closed first, in this order."""

    LEAVING = 0  # for the client to close it, after the last answer
    NEW = 1  # for a first request
    IDLE = 2  # for another request
    BODY = 3  # for the rest of a body
    ANSWER = 4  # for the server: never closed to make room


class Closable(Protocol):
    """What this module needs of a connection."""

    def make_way(self) -> None:
        """Closes it; nothing is owed to its client."""


class Occupancy:
    """At most `limit` connections. Each is in one place, in the order in which something last arrived on it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._places: dict[Waits, OrderedDict[Closable, None]] = {waits: OrderedDict() for waits in Waits}
        self._place_of: dict[Closable, Waits] = {}

    def __len__(self) -> int:
        return len(self._place_of)

    def put(self, connection: Closable, waits: Waits) -> None:
        """Something happened on this connection, and now it waits for that."""
        before = self._place_of.get(connection)
        if before is not waits:
            if before is not None:
                del self._places[before][connection]
            self._place_of[connection] = waits
        self._places[waits][connection] = None
        self._places[waits].move_to_end(connection)

    def touch(self, connection: Closable) -> None:
        """Something arrived on this connection."""
        place = self._place_of.get(connection)
        if place is not None:
            self._places[place].move_to_end(connection)

    def remove(self, connection: Closable) -> None:
        place = self._place_of.pop(connection, None)
        if place is not None:
            del self._places[place][connection]

    def make_room(self) -> bool:
        """Closes connections until there is room for one more. False if all of them wait for answers."""
        while len(self) >= self.limit:
            victim = next((next(iter(self._places[waits])) for waits in _CLOSABLE if self._places[waits]), None)
            if victim is None:
                return False
            self.remove(victim)
            victim.make_way()
        return True


_CLOSABLE = [waits for waits in Waits if waits is not Waits.ANSWER]
