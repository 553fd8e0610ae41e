"""Results as a Parquet file. Needs the extra `parquet` (pyarrow)."""

from pathlib import Path
from typing import Any, BinaryIO

from torchless.engine.results import TARGET_COLUMNS, TARGETS_COLUMNS, Result
from torchless.errors import extra

ROWS_A_GROUP = 10_000


def import_pyarrow() -> Any:
    """The modules pyarrow and pyarrow.parquet, as `pyarrow`. Raises MissingDependencyError, which names the extra."""
    with extra("parquet", "Parquet"):
        import pyarrow
        import pyarrow.parquet
    return pyarrow


class ParquetWriter:
    """One row per image with the columns of a JSON row: `image`, `predictions` (a list of index, label, probability),
    `error` and `warning`; `labelled` ones have their class too, and those of a `multi_label` model have thresholds,
    `multi_label` and `nearest`.

    A row group is written after every ROWS_A_GROUP rows, so that memory stays flat.
    """

    def __init__(self, path: Path | BinaryIO, *, labelled: bool = False, multi_label: bool = False) -> None:
        arrow = self._arrow = import_pyarrow()
        index, text, number = arrow.int32(), arrow.string(), arrow.float64()
        threshold = [("threshold", number)] * multi_label
        prediction = arrow.struct([("index", index), ("label", text), ("probability", number), *threshold])
        more = [("multi_label", arrow.bool_()), ("nearest", prediction)] if multi_label else []
        if labelled:
            kinds = (arrow.list_(index), arrow.list_(text)) if multi_label else (index, text)
            more += zip(TARGETS_COLUMNS if multi_label else TARGET_COLUMNS, kinds, strict=True)
        told = [("error", text), ("warning", text)]
        self._schema = arrow.schema([("image", text), ("predictions", arrow.list_(prediction)), *told, *more])
        self._file = arrow.parquet.ParquetWriter(path, self._schema)
        self._rows: list[dict[str, Any]] = []

    def write(self, result: Result) -> None:
        self._rows.append(_utf8(result.to_dict()))
        if len(self._rows) == ROWS_A_GROUP:
            self._write_group()

    def close(self) -> None:
        if self._rows:
            self._write_group()
        self._file.close()

    def _write_group(self) -> None:
        self._file.write_table(self._arrow.Table.from_pylist(self._rows, self._schema))
        self._rows.clear()


def _utf8(row: dict[str, Any]) -> dict[str, Any]:
    """The row without the lone surrogates of a file name that is not UTF-8; they are escaped as in the other
    formats.
    """
    return {
        name: value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value
        for name, value in row.items()
    }
