"""`torchless models`: the catalogue filtered, sorted, and as a table."""

from collections.abc import Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from torchless.cli.options import AsJson, print_json
from torchless.errors import UsageError
from torchless.process import say
from torchless.text import columns
from torchless_export.cli.options import require_torch

if TYPE_CHECKING:
    from torchless_export.sources.catalog import Entry

_SORT_KEYS: dict[str, Callable[["Entry"], Any]] = {
    "name": lambda entry: entry.model,
    "acc@1": lambda entry: -(entry.acc1 or 0.0),
    "params": lambda entry: entry.num_params,
    "gflops": lambda entry: entry.gflops or 0.0,
    "size": lambda entry: entry.file_size_mb or 0.0,
}


class SortKey(StrEnum):
    """The values of --sort."""

    NAME = "name"
    ACC1 = "acc@1"
    PARAMS = "params"
    GFLOPS = "gflops"
    SIZE = "size"


def models(
    text: Annotated[str | None, typer.Argument(help="The same as --filter.", show_default=False)] = None,
    filter: Annotated[
        str | None, typer.Option(help="Only those with this text in their name.", show_default=False)
    ] = None,
    sort: Annotated[
        SortKey, typer.Option(help="acc@1: the best first; the others: the smallest first.")
    ] = SortKey.NAME,
    max_size_mb: Annotated[
        float | None, typer.Option(help="Only files of weights up to this size, in MB (10⁶ bytes).", show_default=False)
    ] = None,
    min_acc1: Annotated[
        float | None, typer.Option(help="Only those with this top-1 accuracy or more, in percent.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List torchvision's classifiers and their weights, with what torchvision publishes about them.

    Example:
      torchless models --min-acc1 75 --max-size-mb 50 --sort size

    A MB is 10⁶ bytes; accuracies are in percent.
    """
    if min_acc1 is not None and 0 < min_acc1 < 1:
        raise UsageError(f"`min_acc1` is in percent: 75, not 0.75; got {min_acc1:g}")
    if text is not None and filter is not None:
        raise UsageError(f"{text} is a filter, and `filter` {filter} too; give one of them")
    require_torch()
    selected = _select(filter=filter or text, sort=sort.value, max_size_mb=max_size_mb, min_acc1=min_acc1)
    if as_json:
        print_json([entry.to_dict() for entry in selected])
    else:
        say(_text(selected) if selected else "nothing matches; `torchless models` lists all")


def _select(
    *, filter: str | None = None, sort: str = "name", max_size_mb: float | None = None, min_acc1: float | None = None
) -> list["Entry"]:
    """The entries with `filter` in their name, up to `max_size_mb` (10⁶ bytes), from `min_acc1` percent; acc@1 sorts
    the best first.
    """
    from torchless_export.sources.catalog import entries

    text = (filter or "").lower()
    found = [
        entry
        for entry in entries()
        if text in f"{entry.model} {entry.weights}".lower()
        and (max_size_mb is None or (entry.file_size_mb is not None and entry.file_size_mb <= max_size_mb))
        and (min_acc1 is None or (entry.acc1 is not None and entry.acc1 >= min_acc1))
    ]
    return sorted(found, key=_SORT_KEYS[sort])


def _text(selected: list["Entry"]) -> str:
    """A table for people; the default weights of each model have a star."""
    heading = ("model", "weights", "params", "GFLOPs", "MB", "top-1", "top-5", "pixels", "interpolation", "")
    lines = columns([heading, *map(_row, selected)], "<<>>>>>><<")
    models = len({entry.model for entry in selected})
    closing = (
        f"{models} models, {len(selected)} weights; * is a model's DEFAULT; accuracies in percent, as "
        f"torchvision publishes them"
    )
    return "\n".join([*lines, "", closing])


def _row(entry: "Entry") -> tuple[str, ...]:
    return (
        entry.model,
        entry.weights + (" *" if entry.default else ""),
        f"{entry.num_params / 1e6:.1f} M",
        _number(entry.gflops, 2),
        _number(entry.file_size_mb, 1),
        _number(entry.acc1, 2),
        _number(entry.acc5, 2),
        str(entry.image_size),
        entry.interpolation,
        "" if entry.classifies else "features only: no classifier, cannot be exported",
    )


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
