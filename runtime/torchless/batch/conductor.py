"""The one conductor of every run over many images: from inputs to rows, and how the run ended. Ctrl-C never tears a
row.

A run has a Place for its rows: a journal or a folder of parts, which a later run with `resume` continues, or a Sink,
which keeps nothing.
"""

import signal
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import Generic, TypeVar

from torchless.engine.results import Input, Result
from torchless.process import INTERRUPTED
from torchless.progress import Bar

Row = TypeVar("Row")


class Place(ABC, Generic[Row]):
    """Where the rows of a run go.

    `rows` and `failed` count the rows in it; `path` is where they stay after Ctrl-C, None if they do not stay.
    """

    path: Path | None = None

    def __init__(self) -> None:
        self.rows = self.failed = 0
        self._done: Counter[str | None] = Counter()

    @abstractmethod
    def write(self, row: Row) -> None:
        """Writes a whole row, and counts it."""

    def remaining(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """The inputs that have no row from an earlier run; a name that occurs several times is skipped as often as it
        has a row.
        """
        for item in inputs:
            name = self._done_name(item.name)
            if self._done[name] == 0:
                yield item
            elif self._done[name] == 1:
                del self._done[name]
            else:
                self._done[name] -= 1

    def _done_name(self, name: str | None) -> str | None:
        """The name as it appears in rows that are read back."""
        return name

    def _count(self, failed: bool) -> None:
        self.rows, self.failed = self.rows + 1, self.failed + failed


class Sink(Place[Result]):
    """Passes rows on and keeps nothing."""

    def __init__(self, write: Callable[[Result], None]) -> None:
        super().__init__()
        self._write = write

    def write(self, row: Result) -> None:
        self._write(row)
        self._count(not row.ok)


@dataclass(frozen=True)
class Outcome:
    """How a run ended: how many `rows` there are and how many of them `failed`; after Ctrl-C, those so far and where
    they are `kept_in`. `passed_over` has a line for each kind of file that was left out.
    """

    rows: int
    failed: int
    interrupted: bool = False
    kept_in: tuple[Path, ...] = ()
    passed_over: tuple[str, ...] = ()

    @classmethod
    def of(cls, *places: Place[Row], interrupted: bool) -> "Outcome":
        kept = tuple(place.path for place in places if interrupted and place.rows and place.path is not None)
        return cls(sum(place.rows for place in places), sum(place.failed for place in places), interrupted, kept)

    @property
    def exit_code(self) -> int:
        """0 where all images are done, 1 where some failed, 130 after Ctrl-C."""
        return INTERRUPTED if self.interrupted else int(self.failed > 0)

    def interruption(self, noun: str, hint: str) -> str:
        """What an interrupted run leaves or, if it leaves nothing, `hint`. `noun` says what the rows are."""
        done = f": {self.rows} {noun} are done" if self.rows else ""
        kept = (
            f", and kept in {' and '.join(map(str, self.kept_in))}: the same command with `resume` continues from there"
        )
        return f"interrupted{done}{kept if self.kept_in else hint}"


def conduct(
    work: Callable[[Iterator[Input]], Iterator[Row]], inputs: Iterable[Input], place: Place[Row], bar: Bar
) -> Outcome:
    """Does `work` on the inputs that have no row in `place` yet, and writes each row there as it is done.

    `bar` opens a progress bar, given the number already done. Ctrl-C ends the work between two rows. Raises what `work`
    and `place` raise.
    """
    interrupted = False
    try:
        with _CtrlC() as ctrl_c, bar(place.rows) as advance:
            for row in work(place.remaining(inputs)):
                before = place.rows
                ctrl_c.hold()
                place.write(row)
                ctrl_c.release()
                advance(place.rows - before)
    except KeyboardInterrupt:
        interrupted = True
    return Outcome.of(place, interrupted=interrupted)


class _CtrlC:
    """Lets Ctrl-C take effect only between two rows, so that none is torn. A second Ctrl-C takes effect at once."""

    def __init__(self) -> None:
        self._holding = self._pending = False

    def __enter__(self) -> "_CtrlC":
        # Only the main thread gets signals; and a process that ignores this one continues to.
        self._ours = current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def hold(self) -> None:
        self._holding = True

    def release(self) -> None:
        self._holding = False
        if self._pending:
            raise KeyboardInterrupt

    def _handle(self, *_: object) -> None:
        if not self._holding or self._pending:
            raise KeyboardInterrupt
        self._pending = True
