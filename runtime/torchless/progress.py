"""A progress bar on stderr, for people: never where stderr is no terminal, nor between the lines of results on the same terminal."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

Advance = Callable[[], None]


def is_wanted(output: Path | None) -> bool:
    """Whether a bar would be seen, and disturb nothing: stderr is a terminal, and results go elsewhere."""
    return is_seen() and (output is not None or not _is_terminal(sys.stdout))


def is_seen() -> bool:
    """Whether there is somebody to see a bar. It is gone when the work is done, so that results may follow it."""
    return _is_terminal(sys.stderr)


@contextmanager
def progress_bar(total: int | None, done: int) -> Iterator[Advance]:
    """A function to call after each image. `total` is None where it is not known: then there is a rate, but no time left.

    `done` images came from an earlier run; they count in the bar, but not in the rate.
    """
    try:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TimeElapsedColumn, TimeRemainingColumn
        from rich.text import Text
    except ImportError:  # typer brings it, but for typer-slim
        yield lambda: None
        return

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.speed:.1f} images/s" if task.speed else "")

    last = TimeRemainingColumn(compact=True) if total is not None else TimeElapsedColumn()
    with Progress(BarColumn(), MofNCompleteColumn(), Rate(), last, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda: bar.advance(task)


def _is_terminal(stream: object) -> bool:
    return stream is not None and bool(stream.isatty())  # type: ignore[attr-defined]
