"""Messages of a process to its user, and the exit code after an interruption."""

import sys

INTERRUPTED = 130


def tell(line: str) -> None:
    """A line for people on stderr, if that is open."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is where it is done
