"""Images with all of their classes, as users have them: a CSV or JSON Lines list. docs/evaluate.md has the rules."""

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path

from torchless.errors import UsageError
from torchless.evaluate.dataset import (
    MultiLabelDataset,
    MultiLabelExample,
    Row,
    check_examples,
    class_of,
    image_name,
    list_rows,
    reading_data,
)
from torchless.evaluate.targets import Targets

_SEPARATORS = "|", ";"
_TAKES = "image, and labels (or label, index, indices), or a column of 0 and 1 for each class, named by its label"


def read_multi_label_dataset(
    data: str | PathLike[str], *, labels: tuple[str, ...], class_map: Path | None = None
) -> MultiLabelDataset:
    """The images of the list `data` and all their classes, for a multi-label model with these `labels`.

    `class_map` maps names to classes if the names are not the labels (targets.read_class_map). Raises UsageError if the
    list is missing or empty, or if its classes are not certainly the model's.
    """
    path, targets = Path(data), Targets(labels, class_map)
    with reading_data(path):
        if path.is_dir():
            raise UsageError(
                "folders say one class of each image, and a multi-label model needs all: give a .csv or .jsonl list "
                f"with the columns {_TAKES}"
            )
        examples = _examples(path, list_rows(path, lambda names: _columns(names, targets)), targets)
    check_examples(path, examples)
    return MultiLabelDataset(str(path), labels, tuple(examples))


def _columns(names: list[str], targets: Targets) -> list[str]:
    """The names of a CSV file's columns as rows have them: `=label` for that of a class, others in small letters."""
    small = [name.lower() for name in names]
    others = [name for name in names if name.lower() != "image"]
    if small.count("image") == 1 and sorted(others) == sorted(targets.labels):
        return ["image" if name.lower() == "image" else f"={name}" for name in names]
    given = [name for name in ("labels", "indices", "label", "index") if name in small]
    if "image" not in small or not given:
        missing = [label for label in targets.labels if label not in names]
        some = f"; no column for {', '.join(map(repr, missing[:3]))}" * bool(set(others) & set(targets.labels))
        raise UsageError(f"the first line must name the columns: {_TAKES}; it has {', '.join(names) or 'none'}{some}")
    if given not in (["labels"], ["indices"], ["label"], ["index"], ["label", "index"]):
        raise UsageError(f"the columns {' and '.join(given)} both say the classes; leave one out")
    return small


def _examples(path: Path, rows: Iterable[tuple[int, Row]], targets: Targets) -> list[MultiLabelExample]:
    found: dict[str, list[int | str]] = {}
    whole: dict[str, int] = {}  # the line of an image whose line has all of its classes
    places: dict[str, str] = {}
    for line, row in rows:
        name = image_name(path.parent, row.get("image"), line)
        if name in whole:
            raise UsageError(f"line {line}: {row['image']} is already in line {whole[name]}")
        classes, is_whole = _classes(row, targets, line)
        if is_whole and name in found:
            raise UsageError(f"line {line}: {row['image']} is already in an earlier line")
        if is_whole:
            whole[name] = line
        found.setdefault(name, []).extend(classes)
        places.update({each: f" (line {line})" for each in classes if isinstance(each, str) and each not in places})
    indices = targets.of_names(places)
    return [
        MultiLabelExample(name, tuple(sorted({each if isinstance(each, int) else indices[each] for each in classes})))
        for name, classes in found.items()
    ]


def _classes(row: Row, targets: Targets, line: int) -> tuple[list[int | str], bool]:
    """The classes that a row says, and whether these are all of its image: indices, or names for Targets.of_names."""
    if marked := [name for name in row if name.startswith("=")]:
        return [targets.labels.index(name[1:]) for name in marked if _is_marked(row[name], name[1:], line)], True
    key = next((name for name in ("labels", "indices", "label", "index") if row.get(name) is not None), None)
    value = row[key] if key is not None else None
    if isinstance(value, list):
        return [class_of(_single(each), targets, line) for each in value], True
    if key in ("labels", "indices"):
        if not isinstance(value, str):
            raise UsageError(f"line {line}: {key} takes a list, got {value!r}")
        return list(_classes_in(value, targets, line, numbers=key == "indices")), True
    return [class_of(row, targets, line)], False


def _single(value: object) -> Row:
    return {"label" if isinstance(value, str) else "index": value}


def _is_marked(cell: str, label: str, line: int) -> bool:
    if cell not in ("0", "1", "0.0", "1.0"):
        raise UsageError(f"line {line}: the column {label!r} takes 0 or 1, got {cell!r}")
    return cell.startswith("1")


def _classes_in(cell: str, targets: Targets, line: int, *, numbers: bool) -> Iterator[int | str]:
    """The classes in a cell, with | or ; between them, which may also be in the name of a class."""
    for part in _parts(cell, targets, line):
        if not part:
            raise UsageError(f"line {line}: a class is empty in {cell!r}")
        yield class_of({"index" if numbers else "label": part}, targets, line)


def _parts(cell: str, targets: Targets, line: int) -> list[str]:
    """Where both | and ; could separate, the one that gives names of classes does."""
    if not cell or targets.knows(cell):
        return [cell] if cell else []
    ways = [[part.strip() for part in cell.split(each)] for each in _SEPARATORS if each in cell] or [[cell]]
    known = [parts for parts in ways if all(map(targets.knows, parts))]
    if len(ways) > 1 and len(known) != 1:
        raise UsageError(f"line {line}: both | and ; are in {cell!r}; separate classes by one of them")
    return (known or ways)[0]
