"""How `--help` looks: texts that fill any width, short names for values, verbs in groups; and what all
verbs do first.
"""

import re
from collections.abc import Callable
from enum import Enum
from inspect import cleandoc
from pathlib import Path
from types import NoneType
from typing import Any, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup
from typer.models import ArgumentInfo, OptionInfo

from torchless.cli.by_name import takes_names
from torchless.cli.replacing import check_outputs

_BOUNDS = {"greater_than_equal": ("more", "ge"), "less_than_equal": ("less", "le")}  # of pydantic's errors
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_GROUPS = {
    "Run it": ("infer",),
    "Export and prove": ("export", "verify", "quantize", "tune"),
    "Choose": ("models", "compare", "evaluate", "bench"),
    "Serve and ship": ("serve", "repository", "bundle", "image", "keygen", "sign", "verify-signature"),
    "Look after": ("inspect", "doctor"),
}
_PANELS = {verb: group for group, verbs in _GROUPS.items() for verb in verbs}
_ORDER = list(_PANELS)
_VALUES = {bool: "", int: "N", float: "X", Path: "FILE", str: "TEXT"}


class _Verb(TyperCommand):
    """A command whose docstring is broken anew at the terminal's width."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.help = refilled(self.help or "")
        for argument in self._arguments():
            argument.display_type_rich = _no_type

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Says what is wrong with an option in a sentence of its own, not of the library that typer checks it with."""
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            error.message = _complaint(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        """Does the work, unless it would write onto what it reads."""
        check_outputs(ctx.params)
        return super().invoke(ctx)

    def get_help_option(self, ctx: Any) -> Any:
        """-h, which takes no value."""
        return _without_value(super().get_help_option(ctx))

    def collect_usage_pieces(self, ctx: Any) -> list[str]:  # noqa: ARG002 - as click calls it
        """[OPTIONS] MODEL IMAGE..."""
        return ["[OPTIONS]", *map(_usage, self._arguments())]

    def _arguments(self) -> list[Any]:
        return [
            each for each in self.params if each.param_type_name == "argument" and not getattr(each, "hidden", False)
        ]


class _Program(TyperGroup):
    """A program whose verbs are in groups."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        for name, command in self.commands.items():
            command.rich_help_panel = _PANELS.get(name)  # type: ignore[attr-defined]

    def get_help_option(self, ctx: Any) -> Any:
        """-h, which takes no value."""
        return _without_value(super().get_help_option(ctx))

    def list_commands(self, ctx: Any) -> list[str]:
        """Group by group."""
        known = [name for name in _ORDER if name in self.commands]
        return known + [name for name in super().list_commands(ctx) if name not in known]


class App(typer.Typer):
    """A typer.Typer whose commands look like this. A command without arguments explains itself."""

    def command(self, name: str | None = None, **settings: Any) -> Callable[..., Any]:
        """As typer.Typer.command."""
        register = super().command(name, **{"cls": _Verb, **settings})

        def take(function: Callable[..., Any]) -> Callable[..., Any]:
            verb = takes_names(function)
            name_values(verb)
            register(verb)
            return function

        return take


def new_app(help: str | None = None) -> App:
    """A program, or a part of one, of torchless."""
    return App(
        help=help, cls=_Program, add_completion=False, pretty_exceptions_enable=False, context_settings=_SETTINGS
    )


def refilled(text: str) -> str:
    """A docstring with one line for each paragraph; lines that are indented, such as examples, stay as they are."""
    return re.sub(r"(?<=\S)\n(?=\S)", " ", cleandoc(text))


def name_values(function: Callable[..., Any]) -> None:
    """Names the value of each option by its kind (N, FILE, fast|exact; a flag has none), and each argument by its name
    (MODEL, IMAGE...), unless the verb does.
    """
    for name, hint in get_type_hints(function, include_extras=True).items():
        for info in getattr(hint, "__metadata__", ()):
            if isinstance(info, ArgumentInfo) and info.metavar is None:
                several = get_origin(hint.__origin__) is list
                info.metavar = f"{name.upper().removesuffix('S')}..." if several else name.upper()
            elif isinstance(info, OptionInfo) and info.metavar is None:
                info.metavar = _value(hint.__origin__)


def _value(kind: Any) -> str:
    """`int | None` and `list[int]` are `int` here."""
    inner = [each for each in get_args(kind) if each is not NoneType]
    if get_origin(kind) is not None and inner:
        return _value(inner[0])
    if issubclass(kind, Enum):
        return "|".join(each.value for each in kind)
    return _VALUES[kind]


def _complaint(error: typer.BadParameter) -> str:
    """As typer says it, but where pydantic has refused a value."""
    found: list[Any] = getattr(error.__cause__, "errors", list)()
    if not found:
        return error.message
    kind, value, bounds = found[0]["type"], found[0]["input"], found[0].get("ctx", {})
    if kind.startswith(("int_", "float_")):
        return f"{value!r} is no {'whole ' * kind.startswith('int_')}number."
    if kind in _BOUNDS:
        word, name = _BOUNDS[kind]
        return f"must be {bounds[name]} or {word}, got {value}."
    return error.message.removeprefix("Value error, ")


def _usage(argument: Any) -> str:
    return argument.metavar if argument.required else f"[{argument.metavar}]"


def _no_type(ctx: Any) -> str:  # noqa: ARG001 - as typer calls it
    """Of an argument, whose name says what it is."""
    return ""


def _without_value(option: Any) -> Any:
    if option is not None:
        option.metavar = ""
    return option
