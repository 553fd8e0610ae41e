"""Options that several verbs share, and how their values are read."""

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from torchless.errors import UsageError

if TYPE_CHECKING:
    from torchless.model.artifact import Description

WITHOUT_MANIFEST = "For a file without a manifest"


_SETTINGS = {"help_option_names": ["-h", "--help"]}


def new_app(help: str | None = None) -> typer.Typer:
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, context_settings=_SETTINGS)


class Decode(StrEnum):
    """--decode; images.Decode as the command line takes it, without importing Pillow. The oldest typer takes no member for a default."""

    EXACT = "exact"
    FAST = "fast"


class Engine(StrEnum):
    """--engine of `infer` and `serve`."""

    LOCAL = "local"
    RAY = "ray"


ENGINE_PANEL = "Many machines (docs/scaling.md)"
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster, as HOST:6379 or auto; by default RAY_ADDRESS, else this machine alone.",
        rich_help_panel=ENGINE_PANEL,
        show_default=False,
    ),
]


def description(
    resize_size: int | None,
    crop_size: int | None,
    mean: str | None,
    std: str | None,
    interpolation: str | None,
) -> "Description":
    from torchless.model.artifact import Description
    from torchless.model.manifest import parse_interpolation

    return Description(
        resize_size=resize_size,
        crop_size=crop_size,
        mean=three_numbers("--mean", mean),
        std=three_numbers("--std", std),
        interpolation=parse_interpolation(interpolation) if interpolation is not None else None,
    )


def three_numbers(flag: str, text: str | None) -> tuple[float, float, float] | None:
    """The value of a flag that takes one number for each colour; UsageError names the flag."""
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"{flag} takes three numbers, as 0.485,0.456,0.406; got {text!r}") from None
    return red, green, blue
