"""Labelled images as users have them: folders of classes, or a CSV or JSON Lines list. Only names and classes; opens no
image.
"""

import csv
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike, fsdecode
from pathlib import Path
from random import Random
from typing import Any

from torchless.batch.inputs import check, expand
from torchless.engine.results import Input, LabelledResult, Result
from torchless.errors import UsageError
from torchless.evaluate.targets import Targets
from torchless.image.decode import is_image_name

_JSON_LINES = (".jsonl", ".ndjson")
_COLUMNS = "image, and label or index"


@dataclass(frozen=True)
class Example:
    """One labelled image: the path or URL that names its row, and the index of its class."""

    name: str
    target: int


@dataclass(frozen=True)
class Dataset:
    """Labelled images for a model with these `labels`. `passed_over` are files in class folders without an image
    suffix.
    """

    source: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    passed_over: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)

    def sample(self, limit: int | None, *, seed: int = 0) -> "Dataset":
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

    def labelled(self, rows: Iterable[Result]) -> Iterator[LabelledResult]:
        """The rows of images in this dataset, each with its class."""
        targets = {example.name: example.target for example in self}
        for row in rows:
            if row.image is not None and row.image in targets:
                target = targets[row.image]
                yield LabelledResult(
                    row.image, row.predictions, row.error, target_index=target, target_label=self.labels[target]
                )

    def inputs(self) -> Iterator[Input]:
        """The images, for Classifier.classify_many."""
        return (_input(example.name) for example in self)


def read_dataset(data: str | PathLike[str], *, labels: tuple[str, ...], class_map: Path | None = None) -> Dataset:
    """The labelled images of `data`, for a model with these `labels` (docs/evaluate.md has the rules).

    `data` is a folder of class folders, or a list, .csv or .jsonl, with the columns `image`, and `label` or `index`.
    `class_map` maps names to classes if the names are not the labels (targets.read_class_map). Raises UsageError if the
    data is missing or empty, or if its classes are not certainly the model's.
    """
    path, targets = Path(data), Targets(labels, class_map)
    passed_over: tuple[str, ...] = ()
    try:
        if path.is_dir():
            examples, passed_over = _read_tree(fsdecode(data), targets)
        else:
            examples = _read_list(path, targets)
    except OSError as error:
        raise UsageError(f"cannot read {error.filename or path}: {error.strerror or error}") from None
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    if not examples:
        raise UsageError(f"{path} holds no labelled image")
    check(example.name for example in examples if "://" in example.name)
    return Dataset(str(path), labels, tuple(examples), passed_over)


def _input(name: str) -> Input:
    if "://" not in name or os.path.lexists(name):
        return Input(name, name)
    first, *more = islice(expand([name]), 2)
    return Input(name, None, f"{name} leads to several images") if more else replace(first, name=name)


def _read_tree(folder: str, targets: Targets) -> tuple[list[Example], tuple[str, ...]]:
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
    examples, passed_over = [], []
    for name, index in targets.of_folders(names).items():
        for path in _files_in(os.path.join(folder, name)):
            if is_image_name(path):
                examples.append(Example(path, index))
            else:
                passed_over.append(path)
    return examples, tuple(passed_over)


def _files_in(folder: str) -> Iterator[str]:
    """All files below, by name; hidden files and links to folders are skipped, as everywhere."""
    for here, folders, files in os.walk(folder, onerror=_raise):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(here, name) for name in sorted(files) if not name.startswith("."))


def _raise(error: OSError) -> None:
    raise error


def _read_list(path: Path, targets: Targets) -> list[Example]:
    if path.suffix.lower() == ".csv":
        rows = _csv_rows(path)
    elif path.suffix.lower() in _JSON_LINES:
        rows = _json_rows(path)
    else:
        path.stat()  # a missing file has its own error
        raise UsageError("give a folder of class folders, or a list with the suffix .csv or .jsonl")
    try:
        return _examples(path.parent, rows, targets)
    except UnicodeDecodeError as error:
        raise UsageError(f"it is not UTF-8 text: {error.reason} at byte {error.start}") from None


def _examples(folder: Path, rows: Iterable[tuple[int, dict[str, Any]]], targets: Targets) -> list[Example]:
    lines: dict[str, int] = {}
    classes: list[int | str] = []
    places: dict[str, str] = {}
    for line, row in rows:
        name = _image_name(folder, row.get("image"), line)
        if name in lines:
            raise UsageError(f"line {line}: {row['image']} is already in line {lines[name]}")
        lines[name] = line
        classes.append(found := _class_of(row, targets, line))
        if isinstance(found, str):
            places.setdefault(found, f" (line {line})")
    indices = targets.of_names(places)
    return [
        Example(name, found if isinstance(found, int) else indices[found])
        for name, found in zip(lines, classes, strict=True)
    ]


def _image_name(folder: Path, image: object, line: int) -> str:
    """A URL, or a path relative to the list's folder."""
    if not isinstance(image, str) or not image:
        raise UsageError(f"line {line}: there is no image; it takes {_COLUMNS}")
    return image if "://" in image else os.path.join(folder, image)


def _class_of(row: dict[str, Any], targets: Targets, line: int) -> int | str:
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


def _csv_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, skipinitialspace=True, strict=True)
        try:
            columns = [name.strip().lower() for name in next(reader, [])]
            if "image" not in columns or not {"label", "index"} & set(columns):
                raise UsageError(
                    f"the first line must name the columns: {_COLUMNS}; it has {', '.join(columns) or 'none'}"
                )
            for cells in reader:
                if len(cells) not in (0, len(columns)):
                    raise UsageError(f"line {reader.line_num}: {len(cells)} cells for {len(columns)} columns")
                if cells:
                    yield reader.line_num, dict(zip(columns, map(str.strip, cells), strict=True))
        except csv.Error as error:
            raise UsageError(f"line {reader.line_num}: {error}") from None


def _json_rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
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
