"""Label files: one class name per line."""

from os import PathLike, fspath
from pathlib import Path

from torchless.errors import UsageError


def read_labels(path: str | PathLike[str]) -> tuple[str, ...]:
    """The labels in a UTF-8 text file, one per line, index 0 first. Byte-order marks (joined files have them within
    too), CRLF and trailing blank lines are taken off.

    Byte-order marks (joined files have them in the middle too), CRLF and trailing blank lines are removed. Raises
    UsageError if the file cannot be read, is not UTF-8, or has an empty line among the labels.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"labels file {fspath(path)}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(
            f"labels file {fspath(path)} is not UTF-8 text: {error.reason} at byte {error.start}"
        ) from None
    labels = [line.strip() for line in text.replace("\ufeff", "").rstrip().split("\n")]
    if labels == [""]:
        raise UsageError(f"labels file {fspath(path)} is empty; it takes one label a line")
    if "" in labels:
        raise UsageError(f"labels file {fspath(path)}: line {labels.index('') + 1} is empty; it takes one label a line")
    return tuple(labels)


def check_label_count(labels: tuple[str, ...], num_classes: int, where: str) -> tuple[str, ...]:
    """`labels`, if there is one for each class; else UsageError that names both numbers."""
    if len(labels) != num_classes:
        raise UsageError(
            f"{where} holds {len(labels)} labels, the model has {num_classes} classes; they must be equal in number"
        )
    return labels
