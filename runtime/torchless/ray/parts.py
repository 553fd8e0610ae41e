"""The output folder of a run on a cluster: files of rows that appear whole, each as soon as it is done, and what an
interrupted run has done.

OUTPUT/_run.json          which model and options the rows are of; readers of such folders skip names that begin with _
or .
OUTPUT/part-00000000.jsonl (or .parquet), part-00000001.jsonl, …
OUTPUT/_stamps            for each part the stamps of its images, by which a later run knows which ones were replaced
OUTPUT/_SUCCESS           when all is done
"""

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain, compress, repeat
from pathlib import Path
from typing import Any

from torchless.batch.conductor import Place, row_key
from torchless.batch.identity import Identity, check_same_run
from torchless.batch.journal import lock
from torchless.batch.outputs import Format
from torchless.batch.parquet import import_pyarrow
from torchless.engine.results import Result
from torchless.errors import UsageError
from torchless.files import atomic_path, writing
from torchless.records import dataclass

RUN, STAMPS, SUCCESS = "_run.json", "_stamps", "_SUCCESS"


@dataclass(frozen=True)
class Part:
    """The rows of the shard `name` as one file of the output, `data`; (image, error) of each is in `rows`, and `warned`
    of them have a warning.
    """

    name: str
    rows: tuple[tuple[str | None, str | None], ...]
    data: bytes
    warned: int = 0
    first_warning: str = ""


class Parts(Place[Part]):
    """The files in the folder `path` so far; `next_number` is that of the next one."""

    path: Path

    def __init__(self, folder: Path, format: Format) -> None:
        super().__init__()
        self.path, self._format, self.next_number = folder, format, 0
        self._stamps_of = _read_stamps(folder / STAMPS)
        self._earlier_parts = sorted(folder.glob(f"part-*.{format}"))
        for path in self._earlier_parts:
            self._take(path)
        self._stamps_of.clear()  # read again if they are needed: there may be a million

    def write(self, row: Part) -> None:
        """A file of many rows. Its stamps come first: a part without would be done again."""
        path = self.path / f"part-{row.name}.{self._format}"
        self._write_stamps(path, [self._stamp_of_row(image) for image, _ in row.rows])
        with atomic_path(path) as temporary:
            temporary.write_bytes(row.data)
        for image, error in row.rows:
            self._count(image, error)

    def finish(self) -> None:
        """Marks the run as done."""
        (self.path / SUCCESS).touch()

    def _rows(self, path: Path) -> Iterator[tuple[str | None, str | None, str]]:
        """(image, error, stamp) of each row of a part."""
        stamps = chain(self._stamps_of.get(path.name, ()), repeat(""))
        for (image, error), stamp in zip(_read(path, self._format), stamps, strict=False):
            yield image, error, stamp

    def _take(self, path: Path) -> None:
        try:
            self.next_number = max(self.next_number, int(path.stem.split("-")[1]) + 1)
            for image, error, stamp in self._rows(path):
                self._was_done(image, stamp)
                self._count(image, error)
        except (ValueError, KeyError, TypeError, OSError) as error:  # pyarrow's errors are ValueErrors and OSErrors
            raise UsageError(
                f"{path} is damaged, or was not written by torchless; delete it, and `resume` does its images again"
            ) from error

    def _leave_out(self, stale: Counter[str]) -> None:
        """Writes the parts of earlier runs that hold such rows again, without them."""
        stale, self._stamps_of = stale.copy(), _read_stamps(self.path / STAMPS)
        for path in self._earlier_parts:
            self._filter(path, stale)

    def _filter(self, path: Path, stale: Counter[str]) -> None:
        kept, stamps = [], []
        for image, error, stamp in self._rows(path):
            is_stale = stale[key := row_key(self._row_name(image), stamp)] > 0
            kept.append(not is_stale)
            if is_stale:
                stale[key] -= 1
                self._uncount(image, error)
            else:
                stamps.append(stamp)
        if not any(kept):
            path.unlink()
        elif not all(kept):
            self._write_stamps(path, stamps)
            with atomic_path(path) as temporary:
                _write_kept(path, temporary, self._format, kept)

    def _uncount(self, image: str | None, error: str | None) -> None:
        self.rows, self.failed = self.rows - 1, self.failed - (error is not None)
        self.failures = [named for named in self.failures if named != (image, error)]

    def _write_stamps(self, path: Path, stamps: list[str]) -> None:
        with (self.path / STAMPS).open("a") as file:
            file.write(json.dumps({"part": path.name, "stamps": stamps}) + "\n")

    def _row_name(self, name: str | None) -> str:
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
                    for name in (RUN, STAMPS):
                        (folder / name).unlink(missing_ok=True)
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
    except (ValueError, TypeError, RecursionError):
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


def _write_kept(path: Path, to: Path, format: Format, kept: list[bool]) -> None:
    """The rows of a part for which `kept` is true."""
    if format is Format.PARQUET:
        arrow = import_pyarrow()
        arrow.parquet.write_table(arrow.parquet.read_table(path).filter(arrow.array(kept)), to)
        return
    with path.open("rb") as file, to.open("wb") as out:
        out.writelines(compress(file, kept))


def _read_stamps(path: Path) -> dict[str, list[str]]:
    """The stamps of each part's rows. Of what is damaged there are none, so that it is done again."""
    found: dict[str, list[str]] = {}
    with suppress(OSError), path.open("rb") as file:
        for line in file:
            with suppress(ValueError, KeyError, TypeError, RecursionError):
                row = json.loads(line)
                found[str(row["part"])] = list(map(str, row["stamps"]))
    return found
