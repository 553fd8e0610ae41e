"""The output folder of a run on a cluster: files of rows that appear whole, each as soon as it is done, and what an
interrupted run has done.

OUTPUT/_run.json          which model and options the rows are of; readers of such folders skip names that begin with _
or .
OUTPUT/part-00000000.jsonl (or .parquet), part-00000001.jsonl, …
OUTPUT/_SUCCESS           when all is done
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torchless.batch.conductor import Place
from torchless.batch.identity import Identity, check_same_run
from torchless.batch.journal import lock
from torchless.batch.outputs import Format
from torchless.batch.parquet import import_pyarrow
from torchless.engine.results import Result
from torchless.errors import UsageError
from torchless.files import atomic_path, writing

RUN, SUCCESS = "_run.json", "_SUCCESS"


@dataclass(frozen=True)
class Part:
    """The rows of the shard `name` as one file of the output, `data`."""

    name: str
    rows: int
    failed: int
    data: bytes


class Parts(Place[Part]):
    """The files in the folder `path` so far; `next_number` is that of the next one."""

    path: Path

    def __init__(self, folder: Path, format: Format) -> None:
        super().__init__()
        self.path, self._format, self.next_number = folder, format, 0
        for path in sorted(folder.glob(f"part-*.{format}")):
            self._take(path)

    def write(self, row: Part) -> None:
        """A file of many rows."""
        with atomic_path(self.path / f"part-{row.name}.{self._format}") as temporary:
            temporary.write_bytes(row.data)
        self.rows, self.failed = self.rows + row.rows, self.failed + row.failed

    def finish(self) -> None:
        """Marks the run as done."""
        (self.path / SUCCESS).touch()

    def _take(self, path: Path) -> None:
        try:
            self.next_number = max(self.next_number, int(path.stem.split("-")[1]) + 1)
            for image, error in _read(path, self._format):
                self._done[self._done_name(image)] += 1
                self._count(error is not None)
        except (ValueError, KeyError, TypeError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise UsageError(
                f"{path} is damaged, or was not written by torchless; delete it, and `resume` does its images again"
            ) from error

    def _done_name(self, name: str | None) -> str:
        """The name as Parquet holds it: Parquet cannot hold names that are not UTF-8."""
        return (name or "").encode("utf-8", "backslashreplace").decode()


@contextmanager
def open_parts(folder: Path, format: Format, run: Identity, *, resume: bool) -> Iterator[Parts]:
    """The output folder of `run`. It is created if missing, and removed again if nothing was written to it.

    Raises UsageError if it cannot be written, if another process is writing it, if it holds other files, if it holds
    rows and `resume` is not given, or if those belong to another model or other options.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / RUN).open("a+b") as file:
            lock(file, folder)
            file.seek(0)
            _check(folder, file.read(), run, resume)
            _begin(folder, file, run)
            parts = Parts(folder, format)
            try:
                yield parts
            finally:
                if parts.rows == 0 and not (folder / SUCCESS).exists():
                    (folder / RUN).unlink()
                    folder.rmdir()


def _check(folder: Path, found: bytes, run: Identity, resume: bool) -> None:
    others = [entry.name for entry in os.scandir(folder) if entry.name != RUN]
    if not found:
        if others:
            (folder / RUN).unlink()
            raise UsageError(f"{folder} is not empty: it holds {others[0]!r}; name a new folder with `output`")
        return
    if others and not resume:
        raise UsageError(
            f"{folder} holds the rows of an earlier run: `resume` continues from there; delete it to start over"
        )
    try:
        begun = dict(json.loads(found))
    except (ValueError, TypeError):
        raise UsageError(
            f"{folder / RUN} is damaged, or was not written by torchless; delete {folder} to start over"
        ) from None
    check_same_run(folder, begun, run)


def _begin(folder: Path, file: Any, run: Identity) -> None:
    """Writes which run this is, and removes files that a killed one was about to write."""
    (folder / SUCCESS).unlink(missing_ok=True)
    for torn in folder.glob(".*.part.*"):
        torn.unlink()
    file.truncate(0)
    file.write(json.dumps(run).encode())
    file.flush()


def _read(path: Path, format: Format) -> Iterator[tuple[str | None, str | None]]:
    """(image, error) of each row."""
    if format is Format.PARQUET:
        for batch in import_pyarrow().parquet.ParquetFile(path).iter_batches(columns=["image", "error"]):
            yield from zip(batch["image"].to_pylist(), batch["error"].to_pylist(), strict=True)
        return
    with path.open("rb") as file:
        for line in file:
            result = Result.from_json(line.decode())
            yield result.image, result.error
