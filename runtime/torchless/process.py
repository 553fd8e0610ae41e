"""Messages of a process to its user, and the exit code after an interruption.

Everything for people goes through here: whatever a file, an archive or a model is called, no terminal code gets out.
"""

import sys

from torchless.text import lines_printable

INTERRUPTED = 130


def tell(line: str) -> None:
    """A line for people on stderr, if that is open. It stays whole where several threads tell one."""
    if sys.stderr is not None:
        sys.stderr.write(f"{lines_printable(line)}\n")
        sys.stderr.flush()


def say(text: str) -> None:
    """A result for people on stdout."""
    print(lines_printable(text))  # noqa: T201 - this is where it is done


def is_terminal(stream: object) -> bool:
    """Whether a person looks at it. `stream` is None where it is closed."""
    return stream is not None and bool(stream.isatty())  # type: ignore[attr-defined]
