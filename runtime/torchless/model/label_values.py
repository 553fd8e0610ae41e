"""Labels as JSON or as a Python literal: a list, {index: name} or {name: index}."""

import ast
import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from torchless.errors import UsageError, first_line
from torchless.model.label_order import Entry, Labels, in_order

LIST, BY_INDEX, BY_NAME = "a list", "{index: name}", "{name: index}"

_LONGEST_SAMPLE = 60
_INDEX = re.compile(r"\d{1,9}", re.ASCII)
_WORDNET_ID = re.compile(r"n\d{8}", re.ASCII)


class Pairs(tuple[tuple[Any, Any], ...]):
    """What a mapping holds, with the keys that occur twice."""

    def __repr__(self) -> str:
        return f"{{{', '.join(f'{key!r}: {value!r}' for key, value in self)}}}"


def parse_value(text: str) -> object:
    """The list, or the Pairs of the mapping, that `text` is as JSON or as a Python literal. Raises UsageError with both
    reasons.
    """
    try:
        return json.loads(text, object_pairs_hook=Pairs)
    except (ValueError, RecursionError) as error:
        reason = first_line(error)
    try:
        return literal(text.strip())
    except ValueError as error:
        raise UsageError(f"it is neither JSON ({reason}) nor a Python literal ({error})") from None


def literal(text: str) -> object:
    """What ast.literal_eval gives, but Pairs for a dict. Raises ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of a backslash in a name
            body = ast.parse(text, mode="eval").body
            if not isinstance(body, ast.Dict):
                return ast.literal_eval(body)
            keys = [key for key in body.keys if key is not None]  # None is **, and then the lengths differ
            return Pairs(
                (ast.literal_eval(key), ast.literal_eval(value)) for key, value in zip(keys, body.values, strict=True)
            )
    except SyntaxError as error:
        raise ValueError(f"{error.msg} in line {error.lineno}") from None
    except (ValueError, TypeError, RecursionError, MemoryError) as error:
        raise ValueError(first_line(error)) from None


def labels_of(value: object) -> Labels:
    """The labels in a list of names, in {index: name} or in {name: index}. A name may also be [WordNet id, name]; an
    index may be a string of digits. Raises UsageError where it is none of these, or can be read in two ways.
    """
    if isinstance(value, Mapping):
        value = Pairs(value.items())
    if isinstance(value, Pairs):
        return _of_pairs(value)
    if isinstance(value, list | tuple):
        return in_order([Entry(i, _name(item, f"class {i}"), f"class {i}") for i, item in enumerate(value)], LIST)
    raise UsageError(f"it is neither a list of names, nor {BY_INDEX}, nor {BY_NAME}, but {_sample(value)}")


def _of_pairs(pairs: Pairs) -> Labels:
    keys, values = [key for key, _ in pairs], [value for _, value in pairs]
    by_index = _indices(keys) if not any(type(value) is int for value in values) else None
    by_name = _indices(values) if all(isinstance(key, str) for key in keys) else None
    if by_index is not None and by_name is not None and by_index != by_name:
        raise UsageError(f"it is {BY_INDEX} or {BY_NAME}, which differ, {_sample(*pairs[0])}: give a list of names")
    if by_index is not None:
        names = [_name(value, f"{key!r}") for key, value in pairs]
        return in_order(_entries(by_index, names, keys), BY_INDEX)
    if by_name is not None:
        if twice := next((key for key, count in Counter(keys).items() if count > 1), None):
            raise UsageError(f"{twice!r} is in it twice")
        return in_order(_entries(by_name, keys, keys), BY_NAME)
    raise UsageError(f"it is neither {BY_INDEX} nor {BY_NAME}, but {_sample(*pairs[0])}")


def _entries(indices: Sequence[int], names: Sequence[str], keys: Sequence[object]) -> list[Entry]:
    return [Entry(index, name, f"{key!r}") for index, name, key in zip(indices, names, keys, strict=True)]


def _indices(values: Sequence[object]) -> list[int] | None:
    """All as integers, if all are; strings of digits may stand for them."""
    found = [value for value in values if type(value) is int or (isinstance(value, str) and _INDEX.fullmatch(value))]
    return [int(value) for value in found] if len(found) == len(values) else None


def _name(value: object, place: str) -> str:
    match value:
        case str():
            return value
        case [str() as wordnet_id, str() as name] if _WORDNET_ID.fullmatch(wordnet_id):
            return name
    raise UsageError(f"{place} is no name: {_sample(value)}")


def _sample(*values: object) -> str:
    """What was found, in short: a value, or a key with its value."""
    text = ": ".join(map(repr, values))
    return text if len(text) <= _LONGEST_SAMPLE else f"{text[: _LONGEST_SAMPLE - 1]}…"
