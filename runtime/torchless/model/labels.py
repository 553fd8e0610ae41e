"""Labels in files, in the forms that people have them in (docs/labels.md)."""

import re
from collections.abc import Mapping, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.errors import UsageError

if TYPE_CHECKING:  # every start counts labels, few read any
    from torchless.model.label_order import Labels

# "[PAD]" or "(none of these)" as the first of several lines: a name, and not the beginning of a list.
_BRACKETED_NAME = r"""(\[[^\W\d][^]'"\n]*\]|\([^\W\d][^)'"\n]*\)).*\n"""


GivenLabels = Sequence[str] | Mapping[int, str] | Mapping[str, int] | str | PathLike[str]


class FileLabels(tuple[str, ...]):
    """Labels that say in errors where they come from: `where` is their file, in words."""

    where: str


def read_labels(path: str | PathLike[str]) -> FileLabels:
    """The labels in a UTF-8 file, index 0 first: `read_labels_file` without the form."""
    names = FileLabels(read_labels_file(path).names)
    names.where = f"labels file {fspath(path)}"
    return names


def labels_given(labels: GivenLabels) -> tuple[str, ...]:
    """The names in order, index 0 first, of a list, {index: name}, {name: index} or a file. Raises UsageError."""
    if isinstance(labels, str | PathLike):
        return read_labels(labels)
    if isinstance(labels, Mapping):
        from torchless.model.label_values import labels_of

        try:
            return labels_of(labels).names
        except UsageError as error:
            raise UsageError(f"`labels`: {error}") from None
    names = tuple(labels)
    if other := [name for name in names if not isinstance(name, str)]:
        raise UsageError(f"`labels` takes names, class 0 first, not {other[0]!r}")
    return names


def read_labels_file(path: str | PathLike[str]) -> "Labels":
    """The labels in a UTF-8 file, and the form in which they were read: one name a line; a line with name and index;
    JSON or a Python literal, which may be a list, {index: name} or {name: index}; CSV with a header.

    Byte-order marks (joined files have them in the middle too), CRLF and trailing blank lines are removed. Raises
    UsageError if the file cannot be read, is not UTF-8, can be read in two ways, or does not give each of the classes 0
    to n-1 one name; it names the line, the index or the key.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"labels file {fspath(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"labels file {fspath(path)} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    try:
        return labels_in_text(text, suffix=Path(path).suffix.lower())
    except UsageError as error:
        raise UsageError(f"labels file {fspath(path)}: {error}") from None


def labels_in_text(text: str, *, suffix: str = "") -> "Labels":
    """The labels in the text of a file whose name ends in `suffix`. Raises UsageError."""
    from torchless.model.label_lines import labels_in_lines, labels_in_table
    from torchless.model.label_values import labels_of, parse_value

    text = text.replace("\ufeff", "").rstrip()
    if not text:
        raise UsageError("it is empty; it takes one label a line")
    if suffix == ".json" or (text.lstrip().startswith(("[", "{", "(")) and not re.match(_BRACKETED_NAME, text)):
        return labels_of(parse_value(text))
    lines = [line.strip() for line in text.split("\n")]
    return labels_in_table(text, is_table=suffix in (".csv", ".tsv")) or labels_in_lines(lines)


def check_label_count(labels: tuple[str, ...], num_classes: int, where: str) -> tuple[str, ...]:
    """`labels`, if there is one for each class; else UsageError that names both numbers."""
    if len(labels) != num_classes:
        raise UsageError(
            f"{where} holds {len(labels)} label{'s' * (len(labels) != 1)}, the model has {num_classes} classes; they "
            "must be equal in number"
        )
    return labels
