"""Models that a command may name instead of a file, and --offline, which every verb with such an argument has."""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import typer

BY_NAME = object()  # marks such a parameter, in Annotated
_OFFLINE = inspect.Parameter(
    "offline",
    inspect.Parameter.KEYWORD_ONLY,
    default=False,
    annotation=Annotated[
        bool,
        typer.Option("--offline", help="Fetch nothing: a model named by a URL or hf:… must be in the cache already."),
    ],
)


def takes_names(function: Callable[..., Any]) -> Callable[..., Any]:
    """The verb, which gets files where its user gave names; as it is if it takes none."""
    signature = inspect.signature(function, eval_str=True)
    named = {each.name: _as_text(each) for each in signature.parameters.values() if _is_marked(each)}
    if not named:
        return function
    kinds = {name: _kind(signature.parameters[name]) for name in named}

    @wraps(function)
    def verb(*, offline: bool = False, **given: Any) -> Any:
        return function(**given | {name: _located(given[name], offline, kinds[name]) for name in named})

    parameters = [named.get(each.name, each) for each in signature.parameters.values()] + [_OFFLINE]
    verb.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    verb.__annotations__ = {each.name: each.annotation for each in parameters}
    return verb


def _is_marked(parameter: inspect.Parameter) -> bool:
    return BY_NAME in getattr(parameter.annotation, "__metadata__", ())


def _as_text(parameter: inspect.Parameter) -> inspect.Parameter:
    """A path would lose one of the slashes of https://."""
    several = get_origin(parameter.annotation.__origin__) is list
    kind: Any = list[str] if several else str if parameter.default is parameter.empty else str | None
    return parameter.replace(annotation=Annotated[kind, *parameter.annotation.__metadata__])


def _kind(parameter: inspect.Parameter) -> Callable[[Any], Any]:
    """Path, or str where other words than files are meant too."""
    return str if str in get_args(parameter.annotation.__origin__) else Path


def _located(value: Any, offline: bool, kind: Callable[[Any], Any]) -> Any:
    from torchless.hub.local import local_model

    if isinstance(value, list | tuple):  # of files and of folders that are meant as such
        return [kind(local_model(each, offline=offline, alone=False)) for each in value]
    return None if value is None else kind(local_model(value, offline=offline))
