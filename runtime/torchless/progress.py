"""A progress bar on stderr, for people: never if stderr is not a terminal, nor where results may appear on the same
terminal.
"""

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TextIO

from torchless.process import is_terminal

Advance = Callable[[int], None]
Bar = Callable[[int], AbstractContextManager[Advance]]
Bars = Callable[[Callable[[], int | None]], Bar]  # choose_bar, or no_bars


def no_bar(_done: int) -> AbstractContextManager[Advance]:
    """A bar that shows nothing."""
    return nullcontext(lambda _: None)


def no_bars(_total: Callable[[], int | None]) -> Bar:
    """For callers who want no bar at all."""
    return no_bar


def choose_bar(total: Callable[[], int | None], *, rows_on_stdout: bool = False) -> Bar:
    """A bar if it would be seen and disturb nothing: stderr is a terminal, and no rows appear on it from stdout.

    `total`, the number of images, is called only then. The bar is removed before anything else appears on the terminal.
    """
    is_wanted = is_terminal(sys.stderr) and not (rows_on_stdout and _may_be_seen(sys.stdout))
    return partial(_progress_bar, total()) if is_wanted else no_bar


def _may_be_seen(stream: TextIO | None) -> bool:
    """Whether what is written there may appear on a terminal: a pipe may lead to it (`| cat`, `| jq`), a file does
    not.
    """
    try:
        return stream is not None and not stat.S_ISREG(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # not a real stream
        return False


@contextmanager
def bytes_bar(total: int | None, done: int) -> Iterator[Advance]:
    """A function to call with how many more bytes of a download came; a bar if stderr is a terminal."""
    if not is_terminal(sys.stderr):
        yield lambda _: None
        return
    try:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn
    except ImportError:  # as below
        yield lambda _: None
        return
    columns = BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(compact=True)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda count: bar.advance(task, count)


@contextmanager
def _progress_bar(total: int | None, done: int) -> Iterator[Advance]:
    """A function to call with how many more images are done. If `total` is None the bar shows a rate, but no time left.

    `done` images came from an earlier run; they count in the bar, but not in the rate.
    """
    try:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            ProgressColumn,
            Task,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.text import Text
    except ImportError:  # comes with typer, but not with typer-slim
        yield lambda _: None
        return

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            new, seconds = task.completed - done, task.elapsed  # task.speed is that of the last burst of a batch
            return Text(f"{new / seconds:.1f} images/s" if new > 0 and seconds else "")

    last = TimeRemainingColumn(compact=True) if total is not None else TimeElapsedColumn()
    with Progress(BarColumn(), MofNCompleteColumn(), Rate(), last, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=total, completed=done)
        yield lambda images: bar.advance(task, images)
