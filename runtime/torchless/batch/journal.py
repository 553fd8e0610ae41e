"""The rows of an interrupted run, so that the same command can continue.

While a run of many images works on OUTPUT, its rows go to OUTPUT.partial: a first line that names the model and
options, then one JSON row per line, each written to the file at once. When all is done, OUTPUT is written from it, in
any format, and OUTPUT.partial is removed. A killed process leaves at most a torn last line, which counts as not
written.

Each row has two keys more: `crc`, by which a line that was changed is found, and `stamp`, by which an image that was
replaced is.
"""

import json
import os
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from torchless.batch.conductor import Place, row_key
from torchless.batch.identity import Identity, check_same_run
from torchless.engine.results import Result
from torchless.errors import UsageError
from torchless.files import writing
from torchless.locks import take

_VERSION_KEY, _VERSION = "torchless_journal", 2
_BEGINNING = b'{"torchless_journal": '
_CRC, _AFTER_CRC = b'{"crc": "%08x", ', 20


class Journal(Place[Result]):
    """The rows done so far, in the file `path`, and the run that wrote them."""

    path: Path

    def __init__(self, path: Path, file: IO[bytes], run: Identity) -> None:
        super().__init__()
        self.path, self._file = path, file
        self._stale: Counter[str] = Counter()
        self._rows_at = self._read(run)

    def write(self, row: Result) -> None:
        """Adds a row, which survives this process."""
        line = json.dumps(row.to_dict() | {"stamp": self._stamp_of_row(row.image)}, allow_nan=False)
        self._write_line(_with_crc(line.encode()))
        self._count(row.image, row.error)

    def results(self) -> Iterator[Result]:
        """All rows, in the order in which they were written, without those that settle left out."""
        stale = self._stale.copy()
        self._file.seek(self._rows_at)
        for number, line in enumerate(self._file, start=2):
            row, stamp = self._parse(line, number)
            if stale[key := row_key(self._row_name(row.image), stamp)]:
                stale[key] -= 1
            else:
                yield row

    def remove(self) -> None:
        """Removes the journal: its rows are elsewhere now, or there are none."""
        self.path.unlink(missing_ok=True)

    def _leave_out(self, stale: Counter[str]) -> None:
        self._stale = stale
        self.rows = self.failed = 0
        self.failures.clear()
        for row in self.results():
            self._count(row.image, row.error)

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
            self._write_line(json.dumps({_VERSION_KEY: _VERSION, "run": run}).encode())
            return self._file.tell()
        self._check(header, run)
        start = end = self._file.tell()
        for number, line in enumerate(self._file, start=2):
            if line.endswith(b"\n"):
                end += len(line)
                row, stamp = self._parse(line, number)
                self._count(row.image, row.error)
                self._was_done(row.image, stamp)
        self._file.seek(end)
        self._file.truncate()
        return start

    def _check(self, header: bytes, run: Identity) -> None:
        try:
            found = json.loads(header)
            version, begun = found[_VERSION_KEY], dict(found["run"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise self._damaged() from None
        if version != _VERSION:
            raise UsageError(f"{self.path} was written by another version of torchless; delete it to start over")
        check_same_run(self.path, begun, run)

    def _parse(self, line: bytes, number: int) -> tuple[Result, str]:
        """A row and its stamp."""
        try:
            if line[:_AFTER_CRC] != _with_crc(b"{" + line[_AFTER_CRC:].rstrip(b"\n"))[:_AFTER_CRC]:
                raise ValueError("another checksum")
            return Result.from_json(text := line.decode()), str(json.loads(text)["stamp"])
        except (ValueError, KeyError):
            raise UsageError(
                f"line {number} of {self.path} is damaged: delete that line, and `resume` does its image again"
            ) from None

    def _damaged(self) -> UsageError:
        return UsageError(f"{self.path} is damaged, or was not written by torchless; delete it to start over")

    def _write_line(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()


def _with_crc(row: bytes) -> bytes:
    """A row with its checksum in front."""
    return _CRC % zlib.crc32(row) + row[1:]


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
        journal = None
        try:
            file.seek(0)
            if not resume and _has_rows(file):
                raise UsageError(
                    f"{path} holds the rows of an interrupted run: `resume` continues from there; delete it to start "
                    "over"
                )
            journal = Journal(path, file, run)
            yield journal
        finally:
            if journal.rows == 0 if journal is not None else path.stat().st_size == 0:  # the disk is full
                path.unlink(missing_ok=True)


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
