"""What every program of torchless does around its work: streams that take any name, errors as one line and an exit code."""

import io
import os
import sys
from collections.abc import Callable

from torchless.errors import TorchlessError

INTERRUPTED = 130


def run_program(work: Callable[[], object]) -> None:
    """Runs `work`, and ends the process where it fails: an error meant for the user becomes one line on stderr and its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # names that are not UTF-8, or a terminal that is not
            stream.reconfigure(errors="backslashreplace")
    try:
        work()
    except TorchlessError as error:
        tell(f"error: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        tell("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `| head` has seen enough
        os._exit(1)
    except OSError as error:  # files have errors of their own; what is left is standard output on a full disk
        tell(f"error: cannot write the results: {error.strerror or error}")
        os._exit(1)  # not sys.exit: Python would try to write the rest once more, and say so


def tell(line: str) -> None:
    """For people: a line on stderr, where that is open."""
    if sys.stderr is not None:
        print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is where it is done
