"""How many connections the system's limit on open files leaves room for."""

import logging
from contextlib import suppress

_LOG = logging.getLogger("torchless.serve")
_OTHER_FILES = 64  # models, logs, sockets that listen


def connections_for(wanted: int) -> int:
    """How many connections this process may hold: as many as `wanted`, or what is left of the limit on open files, once
    that is as high as this process may set it.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return wanted
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = 2 * wanted + _OTHER_FILES
    if soft < needed and (hard == resource.RLIM_INFINITY or soft < hard):
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return _within(wanted, soft)


def _within(wanted: int, files: int) -> int:
    """Half of the files are kept for what is accepted at once, before it can be closed again."""
    room = max(1, (files - _OTHER_FILES) // 2)
    if room < wanted:
        _LOG.warning("open files are limited to %d (ulimit -n), so there is room for %d connections", files, room)
    return min(wanted, room)
