"""What a process says to its user, and the exit code of one that was interrupted."""

import sys

INTERRUPTED = 130


def tell(line: str) -> None:
    """For people: a line on stderr, where that is open."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is where it is done
