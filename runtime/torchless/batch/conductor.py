"""The one conductor of every run over many images: from inputs to rows, and how the run ended. Ctrl-C never tears a
row.

A run has a Place for its rows: a journal or a folder of parts, which a later run with `resume` continues, or a Sink,
which keeps nothing.
"""

import signal
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from threading import current_thread, main_thread
from typing import Any, Generic, TypeVar

from torchless.batch.outcome import NAMED, Outcome
from torchless.batch.stamps import stamp_of
from torchless.batch.stuck import ending_though_stuck
from torchless.batch.warned import Warnings
from torchless.engine.groups import Listed
from torchless.engine.results import Input, Result
from torchless.progress import Bar

Row = TypeVar("Row")


class Place(ABC, Generic[Row]):
    """Where the rows of a run go.

    `rows` and `failed` count the rows in it, `new` those of this run, and `failures` names the first failed images;
    `path` is where they stay after Ctrl-C, None if they do not stay. `notes` say what became of the rows of an earlier
    run.
    """

    path: Path | None = None
    shown = False  # on the user's terminal, row by row

    def __init__(self) -> None:
        self.rows = self.failed = self.new = 0
        self.failures: list[tuple[str, str]] = []
        self.notes: tuple[str, ...] = ()
        self._earlier: Counter[str] = Counter()  # the rows of earlier runs that this one has not asked for yet
        self._stamps: dict[str, deque[str]] = {}  # of the images that this run is working on
        self._unlisted = False

    @abstractmethod
    def write(self, row: Row) -> None:
        """Writes a whole row, and counts it."""

    def remaining(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """The inputs that have no row from an earlier run: a name that occurs several times is skipped as often as it
        has a row, and an image that was replaced since (stamps.stamp_of) is not.
        """
        for item in inputs:
            name, stamp = self._row_name(item.name), stamp_of(item)
            if (left := self._earlier[key := row_key(name, stamp)]) > 1:
                self._earlier[key] = left - 1
            elif left:
                del self._earlier[key]
            else:
                self._unlisted |= item.image is None and item.error is not None
                self._stamps.setdefault(name, deque()).append(stamp)
                yield item

    def settle(self) -> None:
        """When all inputs have a row: leaves out the rows of an earlier run that none of them stands for."""
        if not self._earlier.total():
            return
        rows = _rows_text(self._earlier.total())
        if self._unlisted:  # they may stand for images that could not be listed
            self.notes = (f"{rows} of an earlier run kept, whose images were not listed now",)
        else:
            self.notes = (f"{rows} of an earlier run left out: their images were replaced, or are not asked for now",)
            self._leave_out(self._earlier)

    def _leave_out(self, stale: Counter[str]) -> None:
        """Takes the rows with these keys out of the place, and counts again."""

    def _row_name(self, name: str | None) -> str:
        """The name as it appears in rows that are read back."""
        return name or ""

    def _stamp_of_row(self, name: str | None) -> str:
        """The stamp of the image whose row is written now."""
        stamps = self._stamps.get(wanted := self._row_name(name), deque())
        stamp = stamps.popleft() if stamps else ""
        if not stamps:
            self._stamps.pop(wanted, None)
        return stamp

    def _was_done(self, name: str | None, stamp: str) -> str:
        """Notes a row of an earlier run, and returns its key."""
        key = row_key(self._row_name(name), stamp)
        self._earlier[key] += 1
        return key

    def _count(self, name: str | None, error: str | None) -> None:
        self.rows, self.failed = self.rows + 1, self.failed + (error is not None)
        if error is not None and len(self.failures) < NAMED:
            self.failures.append((name or "image", error))


def row_key(name: str, stamp: str) -> str:
    """What a row and an input have in common: the name, and the stamp of the image."""
    return f"{stamp}\0{name}"


def _rows_text(number: int) -> str:
    return "1 row" if number == 1 else f"{number:,} rows"


class Sink(Place[Result]):
    """Passes rows on and keeps nothing. `shown` says that the user sees them as they come."""

    def __init__(self, write: Callable[[Result], None], *, shown: bool = False) -> None:
        super().__init__()
        self._write, self.shown = write, shown

    def write(self, row: Result) -> None:
        self._write(row)
        self._count(row.image, row.error)

    def remaining(self, inputs: Iterable[Input]) -> Iterator[Input]:
        """All of them."""
        return iter(inputs)


def conduct(
    work: Callable[[Iterator[Input]], Iterator[Row]], inputs: Iterable[Input], place: Place[Row], bar: Bar
) -> Outcome:
    """Does `work` on the inputs that have no row in `place` yet, and writes each row there as it is done.

    `bar` opens a progress bar, given the number already done. Ctrl-C ends the work between two rows. Raises what `work`
    and `place` raise.
    """
    interrupted, started, earlier = False, time.perf_counter(), place.rows
    warnings = Warnings()
    try:
        with _CtrlC(partial(_left_behind, place)) as ctrl_c, bar(place.rows) as advance:
            for row in work(Listed(place.remaining(inputs))):
                before = place.rows
                warnings.add(row)
                ctrl_c.hold()
                place.write(row)
                ctrl_c.release()
                advance(place.rows - before)
    except KeyboardInterrupt:
        interrupted = True
    if not place.shown:
        warnings.tell()
    place.new, seconds = place.rows - earlier, time.perf_counter() - started
    if not interrupted:
        place.settle()
    return replace(outcome_of(place, interrupted=interrupted), seconds=seconds)


def outcome_of(*places: Place[Any], interrupted: bool) -> Outcome:
    """How a run ended whose rows are in these places."""
    return Outcome(
        rows=sum(place.rows for place in places),
        failed=sum(place.failed for place in places),
        shown=any(place.shown for place in places),
        interrupted=interrupted,
        kept_in=tuple(place.path for place in places if interrupted and place.rows and place.path is not None),
        failures=tuple(chain.from_iterable(place.failures for place in places))[:NAMED],
        new=sum(place.new for place in places),
        notes=tuple(chain.from_iterable(place.notes for place in places)),
    )


def _left_behind(place: Place[Any]) -> str:
    kept = f"; {place.rows} rows are kept in {place.path}: the same command with --resume continues from there"
    return f"interrupted while an image was being decoded{kept if place.path is not None and place.rows else ''}"


class _CtrlC:
    """Lets Ctrl-C take effect only between two rows, so that none is torn. A second Ctrl-C takes effect at once, and a
    decoder that is stuck does not keep the first from it for long: the process then ends with `last_words`.
    """

    def __init__(self, last_words: Callable[[], str]) -> None:
        self._holding = self._pending = False
        self._stuck = ending_though_stuck(last_words)

    def __enter__(self) -> "_CtrlC":
        # Only the main thread gets signals; and a process that ignores this one continues to.
        self._ours = current_thread() is main_thread() and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if self._ours:
            signal.signal(signal.SIGINT, self._handle)
            self._stuck.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        if self._ours:
            self._stuck.__exit__(None, None, None)
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
