"""Dataclasses ↔ JSON, checked field by field: how torchless writes and reads everything it stores or prints as JSON."""

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from torchless.errors import ManifestError

T = TypeVar("T")
_Decoder = Callable[[Any, str], Any]
_PLAIN = {str: "a string", int: "a whole number", bool: "true or false"}


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
    return _decoder_of(kind)(value, where)


@cache
def _decoder_of(kind: Any) -> _Decoder:
    """What decodes values of that type; looking into types takes far longer than the decoding, so it is done once."""
    if is_dataclass(kind):
        return partial(_decode_dataclass, kind)
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Literal:
        return partial(_decode_literal, arguments)
    if origin in (Union, UnionType):
        return partial(_decode_union, arguments)
    if origin is tuple:
        return partial(_decode_tuple, arguments)
    if origin is dict:
        return partial(_decode_dict, arguments[1])
    return _decode_float if kind is float else partial(_decode_plain, kind)


@cache
def _members_of(kind: Any) -> list[tuple[str, str, Any, bool]]:
    """Of each field its name in Python and in JSON, its type, and whether it must be given."""
    hints = get_type_hints(kind)
    return [(f.name, f.metadata.get("json", f.name), hints[f.name], f.default is MISSING) for f in fields(kind)]


def _decode_dataclass(kind: Any, value: Any, where: str) -> Any:
    if not isinstance(value, Mapping):
        _expect(False, value, where, "an object")
    given = {}
    for name, key, type_of_field, required in _members_of(kind):
        if key in value:
            given[name] = decode(type_of_field, value[key], f"{where}.{key}")
        elif required:
            raise ManifestError(f"{where}.{key} is missing")
    return kind(**given)


def _decode_literal(known: tuple[Any, ...], value: Any, where: str) -> Any:
    return _expect(value in known and type(value) in map(type, known), value, where, f"one of {_listed(known)}")


def _decode_union(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and NoneType in kinds:
        return None
    options = [kind for kind in kinds if kind is not NoneType]
    fitting = [kind for kind in options if type(value) is kind]
    return decode(fitting[0] if fitting else options[0], value, where)


def _decode_tuple(kinds: tuple[Any, ...], value: Any, where: str) -> Any:
    _expect(isinstance(value, list), value, where, "a list")
    if kinds[-1] is Ellipsis:
        if kinds[0] in _PLAIN and set(map(type, value)) <= {kinds[0]}:  # thousands of labels
            return tuple(value)
        kinds = kinds[:1] * len(value)
    _expect(len(value) == len(kinds), value, where, f"{len(kinds)} items")
    return tuple(decode(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, value, strict=True)))


def _decode_dict(kind: Any, value: Any, where: str) -> Any:
    items = _expect(isinstance(value, dict), value, where, "an object").items()
    return {name: decode(kind, item, f"{where}.{name}") for name, item in items}


def _decode_float(value: Any, where: str) -> Any:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    fits = is_number and -sys.float_info.max <= value <= sys.float_info.max
    return float(_expect(fits, value, where, "a finite number"))


def _decode_plain(kind: Any, value: Any, where: str) -> Any:
    return _expect(type(value) is kind, value, where, _PLAIN[kind])


def _expect(condition: bool, value: T, where: str, wanted: str) -> T:
    if not condition:
        shown = json.dumps(value, default=str)
        raise ManifestError(f"{where}: expected {wanted}, got {shown if len(shown) <= 60 else shown[:57] + '...'}")
    return value


def _listed(values: tuple[Any, ...]) -> str:
    return ", ".join(json.dumps(value) for value in values)
