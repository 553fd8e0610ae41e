"""The work of one `infer` command: inputs → rows, on stdout or in a file; with a journal where it could be interrupted half done."""

import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import current_thread, main_thread
from typing import TypeVar

from torchless.batch.outputs import Format, open_writer
from torchless.engine.results import Input, Result
from torchless.progress import Advance

Classify = Callable[[Iterator[Input]], Iterator[Result]]
Bar = Callable[[int], AbstractContextManager[Advance]]
Row = TypeVar("Row", bound=Result)


@dataclass(frozen=True)
class Outcome:
    """What became of a job: how many `rows`, and how many of them `failed`; after Ctrl-C those so far, and where they are `kept_in`."""

    rows: int
    failed: int
    interrupted: bool = False
    kept_in: Path | None = None


def run_job(classify: Classify, inputs: Iterator[Input], *, format: Format, output: Path | None, bar: Bar) -> Outcome:
    """Writes a row for each input to `output`, which appears when all are done, or to stdout. `bar` opens a progress bar at so many done.

    Ctrl-C ends it early: what stdout got so far is well-formed; a file does not appear, and KeyboardInterrupt is raised. Raises UsageError
    when the rows cannot be written.
    """
    with open_writer(format, output) as writer:
        outcome = feed(classify(inputs), writer.write, bar(0))
        if outcome.interrupted and output is not None:
            raise KeyboardInterrupt
    return outcome


def run_job_with_journal(
    classify: Classify, inputs: Iterator[Input], *, format: Format, output: Path, bar: Bar, run: dict[str, object], resume: bool
) -> Outcome:
    """As run_job, through a journal beside `output`, which Ctrl-C and whatever kills the process leave there, and `resume` goes on from.

    `run` says what the rows in it must have in common. Raises UsageError also when there is a journal that would be lost or does not fit.
    """
    from torchless.batch.journal import open_journal

    with open_journal(output, run, resume=resume) as journal:
        fed = feed(classify(journal.remaining(inputs)), journal.write, bar(journal.rows))
        if not fed.interrupted:
            with open_writer(format, output) as writer:
                for result in journal.results():
                    writer.write(result)
            journal.remove()
    return Outcome(journal.rows, journal.failed, fed.interrupted, journal.path if fed.interrupted and journal.rows else None)


def no_bar(_done: int) -> AbstractContextManager[Advance]:
    """The bar that nobody sees."""
    return nullcontext(lambda: None)


def feed(results: Iterator[Row], write: Callable[[Row], None], bar: AbstractContextManager[Advance]) -> Outcome:
    """Writes results as they come, each whole before Ctrl-C ends it."""
    rows = failed = 0
    try:
        with _CtrlC() as ctrl_c, bar as advance:
            for result in results:
                ctrl_c.hold()
                write(result)
                rows, failed = rows + 1, failed + (not result.ok)
                ctrl_c.release()
                advance()
    except KeyboardInterrupt:
        return Outcome(rows, failed, interrupted=True)
    return Outcome(rows, failed)


class _CtrlC:
    """Ctrl-C comes between two rows: while one is written it is held back, so that none is torn. A second Ctrl-C comes at once."""

    def __init__(self) -> None:
        self._holding = self._pending = False

    def __enter__(self) -> "_CtrlC":
        # Only the main thread has signals; and a process that was told to ignore this one goes on doing so.
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
