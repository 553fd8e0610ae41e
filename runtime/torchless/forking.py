"""What a forked process must do before it goes on with what it inherited: threads do not come along, but the locks that
they held do, and the handles that are waited for when something of theirs is freed.
"""

import os
from collections.abc import Callable
from threading import Lock


def after_fork(function: Callable[[], object]) -> None:
    """Has `function` called in every process that is forked from this one; does nothing where processes do not fork."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=function)


def keep_for_ever(thing: object) -> None:
    """Nothing frees it any more, not even the end of the process."""
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Locks:
    """Locks for things of which one thread at a time may do something; a forked process gets new ones, as nobody would
    release those that were held.
    """

    def __init__(self, number: int = 1) -> None:
        self._number = number
        self._renew()
        after_fork(self._renew)

    def of(self, thing: object) -> Lock:
        """The lock of a thing; others may share it."""
        return self._locks[(id(thing) >> 4) % self._number]

    def _renew(self) -> None:
        self._locks = tuple(Lock() for _ in range(self._number))
