"""JSON bodies within bounds: who sends one decides how long it is, but not how much is built of it, nor for how long
other threads stand still.

orjson holds Python's lock while it parses, also in a thread: 32 MiB of empty lists stop everything for seconds, and
become 1.6 GB. So long lists of numbers are taken out first and parsed piece by piece into arrays; what is left must
have few values. (Its depth is bounded by orjson itself: 1024.)
"""

import asyncio
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field
from itertools import pairwise
from typing import Any, ParamSpec, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray

from torchless.records import dataclass
from torchless.serve.errors import RequestError
from torchless.serve.reasons import not_json

P = ParamSpec("P")
T = TypeVar("T")
PARSED_AT_ONCE = 1 << 16  # bytes: a body up to this size takes a millisecond or a few, whatever it holds
MOST_VALUES = 20_000
Numbers = NDArray[np.uint8 | np.float32]  # uint8 if all are whole numbers from 0 to 255

_SLICE = 1 << 14
_COUNTED = 1 << 20
_IN_NUMBERS = b"0123456789+-.eE,[] \t\r\n"
_FIRST_COMMA = re.compile(rb"\d\s*(,)\s*-?\d")
_LAST_COMMA = re.compile(rb".*\d\s*(,)\s*-?\d", re.DOTALL)
_NEXT_LIST = re.compile(rb"\]\s*,\s*\[")
_MOST_NESTED = 8  # lists in lists of numbers; a tensor of images has four


@dataclass(frozen=True)
class Document:
    """A JSON value. Of a long list of numbers `root` has the beginning and the end; a text between them is the key of
    the rest, piece by piece, in `runs`. Lists of equal depth in each other are one run.
    """

    root: Any
    runs: Mapping[str, Sequence[Numbers]] = field(default_factory=dict)


def load_document(body: bytes) -> Document:
    """Raises RequestError if it is not JSON, or has too many values. Takes long for long bodies: up to PARSED_AT_ONCE
    in the event loop, others in a thread.
    """
    if reason := not_json(body):
        raise RequestError(reason)
    if len(body) <= PARSED_AT_ONCE:
        try:
            return Document(orjson.loads(body))
        except orjson.JSONDecodeError as error:
            raise RequestError(f"the request is not valid JSON: {error}") from None
    skeleton, runs = _without_runs(body)
    values = sum(
        skeleton.count(sign, start, start + _COUNTED)
        for start in range(0, len(skeleton), _COUNTED)
        for sign in (b",", b"[", b"{")
    )
    if values > MOST_VALUES:
        raise RequestError(f"the request's JSON has more than {MOST_VALUES} values beside a tensor's numbers")
    return Document(_loads(skeleton), runs)


async def in_thread_if(long: bool, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Short work is done at once, long work in a thread, so that others are served meanwhile."""
    return await asyncio.to_thread(function, *arguments, **keywords) if long else function(*arguments, **keywords)


def numbers(values: Sequence[Any]) -> Numbers:
    """An array of JSON's numbers. Raises ValueError if others are among them. What is beyond float32 is infinite."""
    if not set(map(type, values)) <= {int, float}:
        raise ValueError
    with np.errstate(over="ignore"):
        array = np.array(values) if values else np.empty(0, np.uint8)
        whole = array.dtype.kind in "iu" and (not array.size or 0 <= array.min() <= array.max() <= 255)
        return array.astype(np.uint8 if whole else np.float32)


def _without_runs(body: bytes) -> tuple[bytes, dict[str, list[Numbers]]]:
    token, done = secrets.token_hex(8), 0
    parts: list[bytes] = []
    runs: dict[str, list[Numbers]] = {}
    for commas in _runs(body):
        key = f"{token}.{len(runs)}"
        runs[key] = [_piece(body[start + 1 : end]) for start, end in pairwise(commas)]
        parts += [body[done : commas[0] + 1], f'"{key}"'.encode()]
        done = commas[-1]
    return (b"".join([*parts, body[done:]]) if parts else body), runs


def _runs(body: bytes) -> Iterator[list[int]]:
    """For each long stretch of numbers: commas between two of them, one in each slice, from the first to the last."""
    commas: list[int] = []
    for start in range(0, len(body), _SLICE):
        part = body[start : start + _SLICE]
        found = None if part.translate(None, _IN_NUMBERS) else _FIRST_COMMA.search(part)
        if found is not None:
            commas.append(start + found.start(1))
            last = part
            last_start = start
        if (found is None or start + _SLICE >= len(body)) and commas:
            end = _LAST_COMMA.match(last)
            if end is not None and last_start + end.start(1) > commas[-1]:
                commas.append(last_start + end.start(1))
            if len(commas) > 1:
                yield commas
            commas = []


def _piece(text: bytes) -> Numbers:
    """Numbers with commas between them, and lists that end and begin there: as many as end."""
    for _ in range(_MOST_NESTED):
        if b"[" not in text:
            break
        text = text.replace(b"],[", b",") if b"],[" in text else _NEXT_LIST.sub(b",", text)
    if b"[" in text or b"]" in text:
        raise RequestError("the request's JSON has lists that are no tensor: lists and single numbers are mixed")
    return numbers(_loads(b"[%b]" % text))


def _loads(text: bytes) -> Any:
    """Without the position in the message, which is not that in the body."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the request is not valid JSON: {error.msg}") from None
