"""The user's own answers: a file of images and of what their own program gives for each (docs/expected.md).

JSON Lines, one object for each image. `torchless_export.record` writes it, or a few lines of anybody's own:

    {"image": "photos/bee.jpg", "logits": [1.25, -0.5], "probabilities": [0.85, 0.15], "label": "bee"}

`image` is a path, relative to the folder of the file; with `data`, the image file in base64, it is only a name.
`probabilities`, `label` (the most probable class's) and `sha256` (of the image file) may be left out.
"""

import base64
import binascii
import hashlib
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torchless.codec import decode, loads
from torchless.errors import ManifestError, UsageError
from torchless.files import reading
from torchless.records import dataclass

MAX_FILE_BYTES, MAX_ROWS = 256_000_000, 10_000

Rows = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ExpectedRow:
    """One line of the file: what the user's program gives for one image. `image` is its path or its name, `data` the
    image file in base64, `sha256` its digest.

    `logits` are the network's raw outputs, `probabilities` what the program makes of them, `label` the name that it
    gives to the most probable class.
    """

    image: str
    logits: tuple[float, ...]
    probabilities: tuple[float, ...] | None = None
    label: str | None = None
    data: str | None = None
    sha256: str | None = None


@dataclass(frozen=True)
class Expected:
    """The answers in the file `path`: at least one row, and all of the same number of outputs."""

    path: Path
    rows: tuple[ExpectedRow, ...]

    @cached_property
    def logits(self) -> Rows:
        """(images, outputs)"""
        return np.array([row.logits for row in self.rows])

    @cached_property
    def probabilities(self) -> Rows | None:
        """(images, classes), None where no row says them."""
        given = [row.probabilities for row in self.rows if row.probabilities is not None]
        return np.array(given) if given else None

    @property
    def labels(self) -> list[str] | None:
        """The name of each image's most probable class, None where no row says it."""
        given = [row.label for row in self.rows if row.label is not None]
        return given or None

    def image(self, number: int) -> bytes:
        """The encoded file of image `number`. Raises UsageError for a file that cannot be read, or that has changed."""
        row, where = self.rows[number], f"{self.path}: image {self.rows[number].image}"
        if row.data is not None:
            return _from_base64(row.data, where)
        path = self.path.parent / row.image
        with reading(path):
            content = path.read_bytes()
        if row.sha256 is not None and hashlib.sha256(content).hexdigest() != row.sha256.lower():
            raise UsageError(f"{where}: {path} has changed since: its SHA-256 is not {row.sha256}")
        return content


def read_expected(path: str | os.PathLike[str]) -> Expected:
    """The answers in the file `path`. The images must be there, but are read when they are asked for.

    Raises UsageError that names the line and the field.
    """
    file = Path(path)
    rows = tuple(_rows(file))
    if not rows:
        raise UsageError(f"{file} holds no answers: it takes a JSON object a line, with image and logits")
    for name in ("logits", "probabilities"):
        _check_alike(file, rows, name)
    if len({row.label is None for row in rows}) > 1:
        raise UsageError(f"{file}: some rows have a label and some have none; it takes one in every row, or none")
    return Expected(file, rows)


def _rows(path: Path) -> Iterator[ExpectedRow]:
    for number, line in _lines(path):
        try:
            row: ExpectedRow = decode(ExpectedRow, loads(line, "the line"), "row")
        except ManifestError as error:
            raise UsageError(f"{path}, line {number}: {error}") from None
        if row.data is None and not os.path.isfile(path.parent / row.image):
            raise UsageError(f"{path}, line {number}: there is no image file {path.parent / row.image}")
        yield row


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of each line that is not blank."""
    with reading(path), path.open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise UsageError(f"{path} has more than {MAX_FILE_BYTES // 1_000_000} MB: give fewer images, or their paths")
    lines = [(number, line) for number, line in enumerate(content.split(b"\n"), start=1) if line.strip()]
    if len(lines) > MAX_ROWS:
        raise UsageError(f"{path} has {len(lines)} rows, the limit is {MAX_ROWS}")
    for number, line in lines:
        try:
            yield number, line.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise UsageError(f"{path}, line {number} is not UTF-8 text: it takes a JSON object a line") from None


def _check_alike(path: Path, rows: tuple[ExpectedRow, ...], name: str) -> None:
    """Every row has as many numbers under `name` as the first, and at least one."""
    lists: list[Any] = [getattr(row, name) for row in rows]
    for number, (row, values) in enumerate(zip(rows, lists, strict=True), start=1):
        if (values is None) != (lists[0] is None) or (values is not None and len(values) != len(lists[0])):
            raise UsageError(
                f"{path}: row {number} ({row.image}) has {_counted(values)} {name}, the first has {_counted(lists[0])}"
            )
        if values is not None and not values:
            raise UsageError(f"{path}: row {number} ({row.image}) has an empty list of {name}")


def _counted(values: tuple[float, ...] | None) -> str:
    return "no" if values is None else str(len(values))


def _from_base64(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError(f"{where}: data is not base64: {error}") from None
