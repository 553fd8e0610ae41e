"""Labels a line each, with or without their indices; and CSV with a header."""

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import islice

from torchless.errors import UsageError
from torchless.model.label_order import Entry, Labels, in_order
from torchless.model.label_values import literal
from torchless.records import dataclass

NAMES = "one name a line"

_DIGITS, _MOST_DIGITS, _SPACES = "0123456789", 9, " \t"
_SEPARATORS = {":", ",", ";"}
_INDEX_COLUMNS = {"index", "idx", "id", "number", "class_id", "class_idx", "class_index", "label_id", "label_index"}
_NAME_COLUMNS = {"name", "label", "class", "class_name", "label_name", "category", "names", "labels", "classes"}


@dataclass(frozen=True)
class _Line:
    """A line with a number at its beginning or its end, and what stands between: ":", ",", ";" or " "."""

    index: int
    separator: str
    name: str


def labels_in_lines(lines: Sequence[str]) -> Labels:
    """The labels in `lines`, which have no spaces at either end.

    Numbers are indices only where every line begins or ends with one, and they are 0 to n-1 in some order: "7 Up" among
    other names is a name. Raises UsageError with a sample where it is not clear which they are.
    """
    if "" in lines:
        raise UsageError(f"line {lines.index('') + 1} is empty; it takes one label a line")
    lines = _without_commas(lines)
    leading, trailing = _all(_leading, lines), _all(_trailing, lines)
    if trailing is not None and not _ends_in_indices(trailing):
        trailing = None
    if leading is not None and trailing is not None and _differ(leading, trailing):
        raise UsageError(f"it is not clear which number of a line is the index; line 1 is {lines[0]!r}")
    if leading is not None and (trailing is None or _are_indices(leading)):
        return _by_index(leading, f'"index{_between(leading)}name" a line')
    if trailing is not None:
        return _by_index(trailing, f'"name{_between(trailing)}index" a line')
    _check_no_index_column(lines)
    return in_order(_entries([_Line(i, " ", name) for i, name in enumerate(lines)]), NAMES)


def _by_index(lines: Sequence[_Line], form: str) -> Labels:
    try:
        return in_order(_entries(lines), form)
    except UsageError as error:
        raise UsageError(f"{error}; if the numbers belong to the names, give the names as a JSON list") from None


def _without_commas(lines: Sequence[str]) -> Sequence[str]:
    """Entries of a list whose brackets were left out end in commas, but for the last."""
    if len(lines) > 1 and all(line.endswith(",") for line in lines[:-1]):
        return [line.removesuffix(",").rstrip() for line in lines]
    return lines


def _all(parse: Callable[[str], _Line | None], lines: Sequence[str]) -> list[_Line] | None:
    """Every line parsed, or None."""
    found = [line for line in map(parse, lines) if line is not None]
    return found if len(found) == len(lines) else None


def _leading(line: str) -> _Line | None:
    rest = line.lstrip(_DIGITS)
    after = rest.lstrip(_SPACES)
    return _numbered(line[: len(line) - len(rest)], _separator(after[:1], rest != after), after, after[1:])


def _trailing(line: str) -> _Line | None:
    rest = line.rstrip(_DIGITS)
    before = rest.rstrip(_SPACES)
    found = _numbered(line[len(rest) :], _separator(before[-1:], rest != before), before, before[:-1])
    return found if found is not None and found.name else None


def _separator(beside: str, spaces: bool) -> str:
    """`beside` stands beside the number, after `spaces` or none; "" where nothing separates them."""
    return beside if beside in _SEPARATORS else " " if spaces else ""


def _numbered(digits: str, separator: str, name: str, name_without_separator: str) -> _Line | None:
    if not 0 < len(digits) <= _MOST_DIGITS or not separator:
        return None
    return _Line(int(digits), separator, (name if separator == " " else name_without_separator).strip())


def _are_indices(lines: Sequence[_Line], first: int = 0) -> bool:
    return sorted(line.index for line in lines) == list(range(first, first + len(lines)))


def _ends_in_indices(lines: Sequence[_Line]) -> bool:
    """Not "class 0", "class 1", …, which are names, and not "Boeing 747" among others."""
    names = {line.name for line in lines}
    if all(line.separator != " " for line in lines):
        return len(names) > 1 or len(lines) == 1
    return 1 < len(names) == len(lines) and (_are_indices(lines) or _are_indices(lines, first=1))


def _differ(leading: Sequence[_Line], trailing: Sequence[_Line]) -> bool:
    both = _are_indices(leading) and _are_indices(trailing)
    return both and [line.index for line in leading] != [line.index for line in trailing]


def _check_no_index_column(lines: Sequence[str]) -> None:
    """Raises UsageError where most lines begin with what may be an index, but not all."""
    found = [line for line in map(_leading, lines) if line is not None]
    indices = {line.index for line in found if line.index <= len(lines)}
    if len(lines) < 2 * len(indices) and len(indices) == len(found):
        number, without = next((i, line) for i, line in enumerate(lines, start=1) if _leading(line) is None)
        raise UsageError(
            f"{len(found)} of {len(lines)} lines begin with a number that may be the index, but line {number} does "
            f"not: {without!r}. Number all from 0 or none, or give the names as a JSON list"
        )


def _between(lines: Sequence[_Line]) -> str:
    return {":": ": ", ",": ",", ";": ";", " ": " "}[lines[0].separator]


def _entries(lines: Sequence[_Line]) -> list[Entry]:
    names = _unquoted([line.name for line in lines], some=lines[0].separator == ",")
    return [Entry(line.index, name, f"line {i}") for i, (line, name) in enumerate(zip(lines, names, strict=True), 1)]


def _unquoted(names: Sequence[str], *, some: bool) -> Sequence[str]:
    """Without their quotes, where all names have them; or `some`, as in CSV."""
    bare = [_bare(name) for name in names]
    if None in bare and not some:
        return names
    return [name if inside is None else inside for name, inside in zip(names, bare, strict=True)]


def _bare(name: str) -> str | None:
    """What stands within quotes, of CSV or of Python; None where there are none."""
    if len(name) < 2 or name[0] != name[-1] or name[0] not in "'\"":
        return None
    try:
        (fields,) = csv.reader([name], strict=True)
        if name[0] == '"' and len(fields) == 1:
            return fields[0]
    except csv.Error:
        pass  # then it may be Python's
    try:
        found = literal(name)
    except ValueError:
        return None
    return found if isinstance(found, str) else None


def labels_in_table(text: str, *, is_table: bool) -> Labels | None:
    """The labels in CSV whose header says which columns hold the indices and the names; None where the first line is
    no such header. Without a column of indices, which only files that end in .csv or .tsv (`is_table`) may leave out,
    the rows are in order. Raises UsageError that names the line.
    """
    first = text.partition("\n")[0]
    delimiter = next((each for each in "\t;," if each in first), ",")
    header = [field.strip().lower().replace(" ", "_") for field in first.split(delimiter)]
    indices, names = (
        [i for i, field in enumerate(header) if field in known] for known in (_INDEX_COLUMNS, _NAME_COLUMNS)
    )
    if not (names and (indices or is_table)):
        return None
    if len(names) > 1 or len(indices) > 1:
        raise UsageError(f"its columns are {', '.join(header)}: call only one of them index, and only one name")
    index, name = indices[0] if indices else None, names[0]
    rows = list(_rows(text, delimiter, len(header)))
    entries = [
        Entry(i if index is None else _class_number(row[index], place), row[name], place)
        for i, (place, row) in enumerate(rows)
    ]
    columns = [header[each] for each in sorted([*indices, *names])]
    return in_order(entries, f"CSV with the column{'s' * (len(columns) > 1)} {', '.join(columns)}")


def _rows(text: str, delimiter: str, width: int) -> Iterator[tuple[str, list[str]]]:
    """Each row below the header, with its place."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        for row in islice(reader, 1, None):
            place = f"line {reader.line_num}"
            if len(row) != width:
                raise UsageError(f"{place} has {len(row)} fields, the header {width}")
            yield place, row
    except csv.Error as error:
        raise UsageError(f"line {reader.line_num} is no CSV: {error}") from None


def _class_number(text: str, place: str) -> int:
    digits = text.strip()
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MOST_DIGITS):
        raise UsageError(f"{place} has {text!r} where the index belongs")
    return int(digits)
