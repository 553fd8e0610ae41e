"""The rows of an interrupted run, so that the same command can continue.

While a run of many images works on OUTPUT, its rows go to OUTPUT.partial: a first line that names the model and
options, then one JSON row per line, each written to the file at once. When all is done, OUTPUT is written from it, in
any format, and OUTPUT.partial is removed. A killed process leaves at most a torn last line, which counts as not
written.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchless.batch.conductor import Place
from torchless.batch.identity import Identity, check_same_run
from torchless.engine.results import Result
from torchless.errors import UsageError
from torchless.files import writing
from torchless.locks import take

_VERSION_KEY, _VERSION = "torchless_journal", 1
_BEGINNING = b'{"torchless_journal": '


class Journal(Place[Result]):
    """The rows done so far, in the file `path`, and the run that wrote them."""

    path: Path

    def __init__(self, path: Path, file: IO[bytes], run: Identity) -> None:
        super().__init__()
        self.path, self._file = path, file
        self._rows_at = self._read(run)

    def write(self, row: Result) -> None:
        """Adds a row, which survives this process."""
        self._write_line(row.to_json(ascii_only=True))
        self._count(not row.ok)

    def results(self) -> Iterator[Result]:
        """All rows, in the order in which they were written."""
        self._file.seek(self._rows_at)
        for line in self._file:
            yield Result.from_json(line.decode())

    def remove(self) -> None:
        """Removes the journal: its rows are elsewhere now, or there are none."""
        self.path.unlink(missing_ok=True)

    def _read(self, run: Identity) -> int:
        """Reads what the file already holds, and returns where the rows begin. Raises UsageError if it belongs to
        another run or is not a journal.
        """
        header = self._file.readline()
        if not header.endswith(b"\n"):  # new, or killed before its first row
            if not _BEGINNING.startswith(header[: len(_BEGINNING)]):
                raise self._damaged()
            self._file.seek(0)
            self._file.truncate()
            self._write_line(json.dumps({_VERSION_KEY: _VERSION, "run": run}))
            return self._file.tell()
        self._check(header, run)
        start = end = self._file.tell()
        for line in self._file:
            if line.endswith(b"\n"):
                end += len(line)
                result = self._parse(line)
                self._count(not result.ok)
                self._done[result.image] += 1
        self._file.seek(end)
        self._file.truncate()
        return start

    def _check(self, header: bytes, run: Identity) -> None:
        try:
            found = json.loads(header)
            version, begun = found[_VERSION_KEY], dict(found["run"])
        except (ValueError, KeyError, TypeError):
            raise self._damaged() from None
        if version != _VERSION:
            raise UsageError(f"{self.path} was written by another version of torchless; delete it to start over")
        check_same_run(self.path, begun, run)

    def _parse(self, line: bytes) -> Result:
        try:
            return Result.from_json(line.decode())
        except (ValueError, KeyError, TypeError):
            raise self._damaged() from None

    def _damaged(self) -> UsageError:
        return UsageError(f"{self.path} is damaged, or was not written by torchless; delete it to start over")

    def _write_line(self, line: str) -> None:
        self._file.write(line.encode() + b"\n")
        self._file.flush()


def journal_path(output: Path) -> Path | None:
    """Where the rows of a run that writes to `output` are kept meanwhile; None if `output` is a device or a pipe."""
    final = Path(os.path.realpath(output))
    is_special = os.path.lexists(final) and not os.path.isfile(final) and not os.path.isdir(final)
    return None if is_special else final.with_name(final.name + ".partial")


@contextmanager
def open_journal(output: Path, run: Identity, *, resume: bool) -> Iterator[Journal]:
    """The journal of a run that writes to `output`. It stays when the block ends, unless it was removed or has no row.

    Raises UsageError if it cannot be written, if another process is writing it, and if it already holds rows: without
    `resume` because they would be lost, with it if they belong to another model or other options.
    """
    path = journal_path(output)
    if path is None:
        raise UsageError(f"`resume` needs an `output` that is a file; {output} is not")
    if os.path.isdir(output):
        raise UsageError(f"cannot write {output}: it is a folder")
    with writing(output), path.open("a+b") as file:
        lock(file, path)
        file.seek(0)
        if not resume and _has_rows(file):
            raise UsageError(
                f"{path} holds the rows of an interrupted run: `resume` continues from there; delete it to start over"
            )
        journal = Journal(path, file, run)
        try:
            yield journal
        finally:
            if journal.rows == 0:
                journal.remove()


def _has_rows(file: IO[bytes]) -> bool:
    """Whether there is more than a first line. Leaves the file at its start."""
    file.readline()
    rows = bool(file.readline())
    file.seek(0)
    return rows


def lock(file: IO[bytes], path: Path) -> None:
    """Keeps other runs away from `path` while `file` is open, where the file system has locks. Raises UsageError if one
    is writing it.
    """
    try:
        take(file, wait=False)
    except BlockingIOError:
        raise UsageError(f"another run is writing {path}") from None
