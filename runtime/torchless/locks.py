"""Locks on files and folders between processes, where the system and the file system have them: Windows has not these,
nor have some network file systems. The system releases them when a process ends, however it ends.
"""

import os
from contextlib import suppress
from importlib import import_module
from os import PathLike
from typing import IO, Any

_fcntl: Any = None
with suppress(ImportError):  # POSIX has it
    _fcntl = import_module("fcntl")


def take(file: int | IO[bytes], *, shared: bool = False, wait: bool = True) -> bool:
    """Locks an open file or folder until it is closed. Returns False where there are no locks.

    Raises BlockingIOError where another process holds a lock that excludes this one, unless it is to `wait` for it.
    """
    if _fcntl is None:
        return False
    kind = _fcntl.LOCK_SH if shared else _fcntl.LOCK_EX
    try:
        _fcntl.flock(file, kind if wait else kind | _fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError:  # the file system's answer: ENOLCK, ENOSYS, EOPNOTSUPP
        return False
    return True


def open_folder(path: str | PathLike[str]) -> int | None:
    """A handle of a folder that is not a link, to lock; None where folders cannot be opened (Windows)."""
    if _fcntl is None:
        return None
    return os.open(path, os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0))


def close(handle: int | None) -> None:
    """Closes what open_folder gave, and releases the lock on it."""
    if handle is not None:
        os.close(handle)
