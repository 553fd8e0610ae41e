"""Dataclasses ↔ JSON, checked field by field: how torchless writes and reads everything it stores or prints as JSON."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torchless.errors import ManifestError

T = TypeVar("T")


def loads(text: str, what: str) -> Any:
    """json.loads, whose every failure is a ManifestError that begins with `what`."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a ValueError too
        raise ManifestError(f"{what} is not valid JSON: {error}") from None


def encode(value: Any) -> Any:
    """A frozen dataclass and everything in it as json.dumps takes it; metadata "json" of a field is its name there."""
    if is_dataclass(value):
        return {f.metadata.get("json", f.name): encode(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, tuple):
        return [encode(item) for item in value]
    return value


def finite(value: Any) -> Any:
    """What encode gives, with null for the infinities and NaNs that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(kind: Any, value: Any, where: str) -> Any:
    """`value`, as json.loads returns it, as an instance of the type `kind`.

    Raises ManifestError that names the field; `where` is the root of that name.
    """
    if is_dataclass(kind):
        return _decode_dataclass(kind, value, where)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return _expect(
            value in arguments and type(value) in map(type, arguments), value, where, f"one of {_listed(arguments)}"
        )
    if origin in (Union, UnionType):
        return _decode_union(arguments, value, where)
    if origin is tuple:
        return _decode_tuple(arguments, value, where)
    if origin is dict:
        items = _expect(isinstance(value, dict), value, where, "an object").items()
        return {name: decode(arguments[1], item, f"{where}.{name}") for name, item in items}
    if kind is float:
        fits = (
            isinstance(value, int | float)
            and not isinstance(value, bool)
            and -sys.float_info.max <= value <= sys.float_info.max
        )
        return float(_expect(fits, value, where, "a finite number"))
    names = {str: "a string", int: "a whole number", bool: "true or false"}
    return _expect(type(value) is kind, value, where, names[kind])


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        _expect(False, value, where, "an object")
    hints, given = get_type_hints(kind), {}
    for spec in fields(kind):
        name = spec.metadata.get("json", spec.name)
        if name in value:
            given[spec.name] = decode(hints[spec.name], value[name], f"{where}.{name}")
        elif spec.default is MISSING:
            raise ManifestError(f"{where}.{name} is missing")
    return kind(**given)


def _decode_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    options = [kind for kind in kinds if kind is not NoneType]
    fitting = [kind for kind in options if type(value) is kind]
    return decode(fitting[0] if fitting else options[0], value, where)


def _decode_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    _expect(isinstance(value, list), value, where, "a list")
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    _expect(len(value) == len(kinds), value, where, f"{len(kinds)} items")
    return tuple(decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _expect(condition: bool, value: T, where: str, wanted: str) -> T:
    if not condition:
        shown = json.dumps(value, default=str)
        raise ManifestError(f"{where}: expected {wanted}, got {shown if len(shown) <= 60 else shown[:57] + '...'}")
    return value


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(json.dumps(value) for value in values)
