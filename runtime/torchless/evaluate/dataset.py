"""Labelled images as users have them: folders of classes, or a CSV or JSON Lines list. Only names and classes; opens no
image.
"""

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import field, replace
from itertools import islice
from os import PathLike, fsdecode
from pathlib import Path
from random import Random
from typing import Any, Generic, Self, TypeVar

from torchless.batch.inputs import check, expand
from torchless.batch.passed_over import PassedOver
from torchless.engine.results import Input, LabelledResult, MultiLabelledResult, Result
from torchless.errors import UsageError
from torchless.evaluate.targets import Targets
from torchless.image.formats import is_image_name
from torchless.records import dataclass

_JSON_LINES = (".jsonl", ".ndjson")
_COLUMNS = "image, and label or index"

Row = dict[str, Any]
Columns = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Example:
    """One labelled image: the path or URL that names its row, and the index of its class; or why it is none."""

    name: str
    target: int
    error: str | None = None


@dataclass(frozen=True)
class MultiLabelExample:
    """An image of which all classes are known: the path or URL that names its row, and the indices of its classes."""

    name: str
    targets: tuple[int, ...]
    error: str | None = None


AnyExample = TypeVar("AnyExample", Example, MultiLabelExample)


@dataclass(frozen=True)
class Images(Generic[AnyExample]):
    """Labelled images for a model with these `labels`. `passed_over` counts what else is in class folders."""

    source: str
    labels: tuple[str, ...]
    examples: tuple[AnyExample, ...]
    passed_over: PassedOver = field(default_factory=PassedOver)

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[AnyExample]:
        return iter(self.examples)

    def sample(self, limit: int | None, *, seed: int = 0) -> Self:
        """`limit` images drawn at random, in their order here; all of them with None.

        The draw is the same on every machine, and is contained in that of a larger `limit`. Raises UsageError below 1.
        """
        if limit is not None and limit < 1:
            raise UsageError(f"`limit` must be at least 1, got {limit}")
        if limit is None or limit >= len(self):
            return self
        random = Random(seed).random  # noqa: S311 - of all that Python draws, this alone is promised to stay the same
        order = sorted(range(len(self)), key=[random() for _ in self].__getitem__)
        return replace(self, examples=tuple(self.examples[number] for number in sorted(order[:limit])))

    def inputs(self) -> Iterator[Input]:
        """The images, for Classifier.classify_many."""
        return (_input(example) for example in self)

    def _known(self, rows: Iterable[Result]) -> Iterator[tuple[Result, AnyExample]]:
        """The rows of images in this dataset, each with its example."""
        examples = {example.name: example for example in self}
        return ((row, examples[row.image]) for row in rows if row.image is not None and row.image in examples)


class Dataset(Images[Example]):
    """Images that have one class each."""

    def labelled(self, rows: Iterable[Result]) -> Iterator[LabelledResult]:
        """The rows of images in this dataset, each with its class."""
        for row, example in self._known(rows):
            label = self.labels[example.target]
            yield LabelledResult(
                row.image,
                row.predictions,
                row.error,
                warning=row.warning,
                target_index=example.target,
                target_label=label,
            )


class MultiLabelDataset(Images[MultiLabelExample]):
    """Images that have any number of classes each."""

    def labelled(self, rows: Iterable[Result]) -> Iterator[MultiLabelledResult]:
        """The rows of images in this dataset, each with its classes."""
        for row, example in self._known(rows):
            yield MultiLabelledResult(
                row.image,
                row.predictions,
                row.error,
                row.multi_label,
                warning=row.warning,
                target_indices=example.targets,
                target_labels=tuple(self.labels[target] for target in example.targets),
            )


def read_dataset(
    data: str | PathLike[str], *, labels: tuple[str, ...], class_map: Path | None = None, strict: bool = False
) -> Dataset:
    """The labelled images of `data`, for a model with these `labels` (docs/evaluate.md has the rules).

    `data` is a folder of class folders, or a list, .csv or .jsonl, with the columns `image`, and `label` or `index`.
    `class_map` maps names to classes if the names are not the labels (targets.read_class_map). With `strict`, what is
    no image in class folders is an example with an error. Raises UsageError if the data is missing or empty, or if its
    classes are not certainly the model's.
    """
    path, targets = Path(data), Targets(labels, class_map)
    passed_over = PassedOver(strict)
    with reading_data(path):
        if path.is_dir():
            examples = _read_tree(fsdecode(data), targets, passed_over)
        else:
            examples = _examples(path.parent, list_rows(path, _columns), targets)
    check_examples(path, examples, passed_over)
    return Dataset(str(path), labels, tuple(examples), passed_over)


@contextmanager
def reading_data(path: Path) -> Iterator[None]:
    """Errors of the block become UsageErrors that name the file."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: it is not UTF-8 text: {error.reason} at byte {error.start}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def check_examples(
    path: Path, examples: Sequence[Example | MultiLabelExample], passed_over: PassedOver | None = None
) -> None:
    """Raises UsageError if there are none, or if an image cannot be fetched."""
    if not examples:
        raise UsageError("; ".join([f"{path} holds no labelled image", *(passed_over.lines() if passed_over else [])]))
    check(example.name for example in examples if "://" in example.name)


def _input(example: Example | MultiLabelExample) -> Input:
    name = example.name
    if example.error is not None:
        return Input(name, None, example.error)
    if "://" not in name or os.path.lexists(name):
        return Input(name, name)
    first, *more = islice(expand([name]), 2)
    return Input(name, None, f"{name} leads to several images") if more else replace(first, name=name)


def _read_tree(folder: str, targets: Targets, passed_over: PassedOver) -> list[Example]:
    with os.scandir(folder) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    loose = sorted(entry.name for entry in visible if is_image_name(entry.name) and not entry.is_dir())
    names = [entry.name for entry in visible if entry.is_dir()]
    if not names:
        raise UsageError(
            "it has no subfolders; give a folder for each class, or a .csv or .jsonl list of images and labels"
        )
    if loose:
        raise UsageError(
            f"images outside the class folders have no class: {', '.join(loose[:3])}{', …' if len(loose) > 3 else ''}"
        )
    return [
        Example(item.name, index, item.error)
        for name, index in targets.of_folders(names).items()
        for item in _files_in(os.path.join(folder, name), passed_over)
        if item.name is not None
    ]


def _files_in(top: str, passed_over: PassedOver) -> Iterator[Input]:
    """All images below, by name; hidden files and links to folders are passed over, as everywhere."""
    for here, folders, files in os.walk(top, onerror=_raise):
        visible = sorted(name for name in folders if not name.startswith("."))
        folders[:] = [name for name in visible if not Path(here, name).is_symlink()]
        for path in (os.path.join(here, name) for name in sorted(files)):
            yield from passed_over.image_or_other(path, Input(path, path))
        for path in (os.path.join(here, name) for name in visible if name not in folders):
            yield from passed_over.link(path)


def _raise(error: OSError) -> None:
    raise error


def list_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row]]:
    """(line, row) for each row of a list. `columns` names those of a CSV file by its first line. Raises UsageError."""
    if path.suffix.lower() == ".csv":
        return _csv_rows(path, columns)
    if path.suffix.lower() in _JSON_LINES:
        return _json_rows(path)
    path.stat()  # a missing file has its own error
    raise UsageError("give a folder of class folders, or a list with the suffix .csv or .jsonl")


def _examples(folder: Path, rows: Iterable[tuple[int, Row]], targets: Targets) -> list[Example]:
    lines: dict[str, int] = {}
    classes: list[int | str] = []
    places: dict[str, str] = {}
    for line, row in rows:
        name = image_name(folder, row.get("image"), line)
        if name in lines:
            raise UsageError(f"line {line}: {row['image']} is already in line {lines[name]}")
        lines[name] = line
        classes.append(found := class_of(row, targets, line))
        if isinstance(found, str):
            places.setdefault(found, f" (line {line})")
    indices = targets.of_names(places)
    return [
        Example(name, found if isinstance(found, int) else indices[found])
        for name, found in zip(lines, classes, strict=True)
    ]


def image_name(folder: Path, image: object, line: int) -> str:
    """A URL, or a path relative to the list's folder."""
    if not isinstance(image, str) or not image:
        raise UsageError(f"line {line}: there is no image; it takes {_COLUMNS}")
    return image if "://" in image else os.path.join(folder, image)


def class_of(row: Row, targets: Targets, line: int) -> int | str:
    """An index, or a name for Targets.of_names. `index` counts if there is one."""
    value = row.get("index")
    if isinstance(value, str):  # from CSV
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else value or None
    if value is None and isinstance(row.get("label"), str) and row["label"]:
        return str(row["label"])
    if value is None:
        value = row.get("label")
    if type(value) is not int:
        what = "neither label nor index" if value in (None, "") else f"no class: {value!r}"
        raise UsageError(f"line {line}: there is {what}; it takes {_COLUMNS}")
    try:
        return targets.index(value)
    except UsageError as error:
        raise UsageError(f"line {line}: {error}") from None


def _columns(names: list[str]) -> list[str]:
    names = [name.lower() for name in names]
    if "image" not in names or not {"label", "index"} & set(names):
        raise UsageError(f"the first line must name the columns: {_COLUMNS}; it has {', '.join(names) or 'none'}")
    return names


def _csv_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            names = columns([name.strip() for name in next(reader, [])])
            for cells in reader:
                if len(cells) not in (0, len(names)):
                    raise UsageError(f"line {reader.line_num}: {len(cells)} cells for {len(names)} columns")
                if cells:
                    yield reader.line_num, dict(zip(names, map(str.strip, cells), strict=True))
        except csv.Error as error:
            raise UsageError(f"line {reader.line_num}: {error}") from None


def _json_rows(path: Path) -> Iterator[tuple[int, Row]]:
    with path.open(encoding="utf-8-sig") as file:
        for line, text in enumerate(file, start=1):
            if not text.strip():
                continue
            try:
                row = json.loads(text)
            except (ValueError, RecursionError) as error:
                raise UsageError(f"line {line}: not JSON: {error}") from None
            if not isinstance(row, dict):
                raise UsageError(f"line {line}: expected one object per line, with {_COLUMNS}")
            yield line, row
