"""From results to text, one at a time as they come: a table for people; JSON, JSON Lines, CSV or Parquet for
programs.
"""

import io
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from math import floor
from pathlib import Path
from typing import BinaryIO, Protocol, TextIO

from torchless.engine.results import (
    TARGET_COLUMNS,
    TARGETS_COLUMNS,
    LabelledResult,
    MultiLabelledResult,
    Prediction,
    Result,
)
from torchless.errors import UsageError
from torchless.files import atomic_path
from torchless.text import printable, without_controls

_BAR_WIDTH = 20
_BLOCKS = "▏▎▍▌▋▊▉█"


class Format(StrEnum):
    """The forms a result can be written in."""

    TABLE = "table"
    JSON = "json"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


_ENDINGS = {"": Format.TABLE, "txt": Format.TABLE, "ndjson": Format.JSONL}


class Writer(Protocol):
    """Where results go. `close` writes what follows the last one; it does not close the stream."""

    def write(self, result: Result) -> None: ...

    def close(self) -> None: ...


def format_of(output: Path) -> Format | None:
    """The format that a file's name says: a table without an ending, None for one that says nothing."""
    suffix = output.suffix.lower().removeprefix(".")
    return _ENDINGS.get(suffix) or (Format(suffix) if suffix in set(Format) else None)


def choose_format(wanted: Format | None, output: Path | None) -> Format:
    """The requested format; otherwise the one that the output file's name says; a table on stdout. Raises UsageError
    for a name that says none.
    """
    found = wanted or (format_of(output) if output is not None else Format.TABLE)
    if found is None:
        raise UsageError(
            f"the name {output} does not say in which form to write: end it in .jsonl, .json, .csv, .parquet or .txt "
            "(a table), or give `format`"
        )
    return found


def check_format(format: Format, output: Path | None) -> None:
    """Raises UsageError or MissingDependencyError before any work is done, if the format cannot be written to that
    place or on this machine.
    """
    if format is Format.PARQUET:
        if output is None:
            raise UsageError("Parquet needs a file: name it with `output`")
        from torchless.batch.parquet import import_pyarrow

        import_pyarrow()


@contextmanager
def open_writer(
    format: Format, output: Path | None, *, labelled: bool = False, multi_label: bool = False
) -> Iterator[Writer]:
    """A writer on `output`, which appears in full when the block ends without an error, or on stdout.

    `labelled` is for LabelledResults, `multi_label` for those of such a model: formats with columns have more columns
    for them. Raises UsageError if `output` cannot be written.
    """
    check_format(format, output)
    if output is None:
        if sys.stdout is None:
            raise UsageError("standard output is closed; write to a file with `output`")
        yield from _closing(_new_writer(format, sys.stdout, labelled, multi_label))
        sys.stdout.flush()
        return
    with atomic_path(output) as temporary:
        yield from _writing_to(format, temporary, labelled, multi_label)


def _writing_to(format: Format, path: Path, labelled: bool, multi_label: bool) -> Iterator[Writer]:
    if format is Format.PARQUET:
        from torchless.batch.parquet import ParquetWriter

        yield from _closing(ParquetWriter(path, labelled=labelled, multi_label=multi_label))
        return
    with path.open("wb") as file, _text_on(file) as stream:
        yield from _closing(_new_writer(format, stream, labelled, multi_label))


def rows_in_memory(format: Format, results: Iterable[Result], *, multi_label: bool = False) -> bytes:
    """What a file of that format with those rows holds."""
    file = io.BytesIO()
    text = _text_on(file)
    if format is Format.PARQUET:
        from torchless.batch.parquet import ParquetWriter

        writer: Writer = ParquetWriter(file, multi_label=multi_label)
    else:
        writer = _new_writer(format, text, labelled=False, multi_label=multi_label)
    for result in results:
        writer.write(result)
    writer.close()
    text.flush()
    return file.getvalue()


def _text_on(file: BinaryIO) -> TextIO:
    """A file name that is not UTF-8 holds lone surrogates; escaped, they are valid JSON."""
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", newline="")


def _new_writer(format: Format, stream: TextIO, labelled: bool, multi_label: bool) -> Writer:
    if format is Format.CSV:
        return CsvWriter(stream, labelled=labelled, multi_label=multi_label)
    return _WRITERS[format](stream)


def _closing(writer: Writer) -> Iterator[Writer]:
    yield writer
    writer.close()


def _is_utf8(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "") == "utf8"


class TableWriter:
    """A heading for each image, and a line for each class: percentage, bar, label; its threshold if it has one."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._blocks = _BLOCKS if _is_utf8(stream) else "#"

    def write(self, result: Result) -> None:
        lines = [printable(result.image or "image")]
        if result.error is not None:
            lines.append(f"  error: {printable(result.error)}")
        if result.warning is not None:
            lines.append(f"  warning: {printable(result.warning)}")
        for prediction in result.predictions:
            bar = _bar(prediction.probability, self._blocks)
            lines.append(
                f"  {prediction.probability * 100:6.2f} %  {bar:<{_BAR_WIDTH}}  {printable(prediction.label)}"
                f"{_at_least(prediction)}"
            )
        if result.nearest is not None:
            lines.append(f"  no class reaches its threshold; the nearest is {_nearest_text(result.nearest)}")
        self._stream.write("\n".join(lines) + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


def _at_least(prediction: Prediction) -> str:
    return f"  (at least {prediction.threshold * 100:g} %)" if prediction.threshold is not None else ""


def _nearest_text(nearest: Prediction) -> str:
    """Such as "dog, 0.31 of 0.50"; never rounded up to the threshold."""
    threshold = nearest.threshold or 0.0
    wanted = max(f"{threshold:.2f}", f"{threshold:g}", key=len)
    steps = 10 ** len(wanted.partition(".")[2])
    return f"{printable(nearest.label)}, {floor(nearest.probability * steps) / steps:.{len(wanted) - 2}f} of {wanted}"


def _bar(share: float, blocks: str) -> str:
    """A bar of up to _BAR_WIDTH characters; its last one is a partial block, as fine as `blocks` (narrowest first)
    allows.
    """
    whole, part = divmod(round(share * _BAR_WIDTH * len(blocks)), len(blocks))
    return blocks[-1] * whole + (blocks[part - 1] if part else "")


class JsonWriter:
    """One JSON array of rows."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._ascii = stream, not _is_utf8(stream)
        self._separator = "[\n"

    def write(self, result: Result) -> None:
        self._stream.write(self._separator + result.to_json(ascii_only=self._ascii))
        self._separator = ",\n"

    def close(self) -> None:
        self._stream.write("[]\n" if self._separator == "[\n" else "\n]\n")


class JsonLinesWriter:
    """One row per line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._ascii = stream, not _is_utf8(stream)

    def write(self, result: Result) -> None:
        self._stream.write(result.to_json(ascii_only=self._ascii) + "\n")
        self._stream.flush()

    def close(self) -> None:
        pass


class CsvWriter:
    """One line per prediction, `rank` from 1; an image that failed has one line with only `error`, one with no
    predictions has one with neither. `labelled` ones have their class, those of a `multi_label` model the threshold of
    each prediction.

    Text that a spreadsheet would take for a formula begins with an apostrophe, and control characters are escaped: file
    names and labels may be anybody's. JSON Lines and Parquet have them as they are.
    """

    def __init__(self, stream: TextIO, *, labelled: bool = False, multi_label: bool = False) -> None:
        import csv

        self._writer, self._multi_label = csv.writer(stream, lineterminator="\n"), multi_label
        threshold = ["threshold"] * multi_label
        target = (TARGETS_COLUMNS if multi_label else TARGET_COLUMNS) if labelled else ()
        self._writer.writerow(
            ["image", "rank", "index", "label", "probability", *threshold, "error", "warning", *target]
        )

    def write(self, result: Result) -> None:
        target = _target_cells(result)
        if not result.predictions:
            empty = [""] * (5 if self._multi_label else 4)
            self._row([result.image, *empty, result.error or "", result.warning or "", *target])
        for rank, prediction in enumerate(result.predictions, start=1):
            found = [rank, *prediction.to_dict().values()]
            self._row([result.image, *found, "", result.warning or "", *target])

    def _row(self, cells: list[object]) -> None:
        self._writer.writerow([_harmless(cell) if isinstance(cell, str) else cell for cell in cells])

    def close(self) -> None:
        pass


_NUMBER = r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?"


def _harmless(cell: str) -> str:
    import re

    if cell.startswith(("=", "+", "-", "@", "\t", "\r")) and not re.fullmatch(_NUMBER, cell):
        cell = f"'{cell}"
    return without_controls(cell)


def _target_cells(result: Result) -> list[object]:
    """Several classes share a cell, with | between them."""
    if not isinstance(result, LabelledResult | MultiLabelledResult):
        return []
    return ["|".join(map(str, value)) if isinstance(value, list) else value for value in result.target().values()]


_WRITERS: dict[Format, Callable[[TextIO], Writer]] = {
    Format.TABLE: TableWriter,
    Format.JSON: JsonWriter,
    Format.JSONL: JsonLinesWriter,
    Format.CSV: CsvWriter,
}
