"""Text for people, shared by everything that prints: columns, sizes, names made safe for a terminal."""

import re
from collections.abc import Sequence

UNTRAINED = "untrained: the weights are random, so the predictions mean nothing (exported without trained weights)"


def columns(rows: Sequence[Sequence[str]], alignment: str) -> list[str]:
    """Rows of text in aligned columns, one line each; `alignment` has "<" or ">" for each column."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(alignment))]
    formats = list(zip(alignment, widths, strict=True))
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, (side, width) in zip(row, formats, strict=True)).rstrip()
        for row in rows
    ]


def megabytes(size: int) -> str:
    """`size` bytes in units of 10⁶."""
    return f"{size / 1e6:.1f} MB"


def images_text(count: int) -> str:
    """1 image, 9 images."""
    return f"{count} image{'s' * (count != 1)}"


def printable(text: str) -> str:
    """Without line breaks and terminal codes, which names in files, archives and models may contain."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else ascii(character)[1:-1] for character in text)


_CONTROLS = "[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"


def without_controls(text: str) -> str:
    """With terminal codes and changes of direction escaped as in JSON, for files and programs that take all else."""
    return re.sub(_CONTROLS, lambda found: f"\\u{ord(found[0]):04x}", text)


def lines_printable(text: str) -> str:
    """The same for a text of several lines of ours, which stay."""
    return "\n".join(map(printable, text.split("\n")))
