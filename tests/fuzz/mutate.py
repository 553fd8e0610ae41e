"""Random changes to bytes and to JSON, all drawn from a seeded generator, so that a number is enough to make an input
again.
"""

import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

# Where parsers go wrong: zero, one, and the ends of signed and unsigned integers.
EDGES = (0, 1, 2, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
_HEADER = 64

Change = Callable[[Random, bytearray], None]


def mutated(random: Random, data: bytes, others: Sequence[bytes] = (), *, most: int = 4) -> bytes:
    """`data` after one to `most` changes; `others` are inputs of the same kind to take parts from."""
    changed = bytearray(data)
    for _ in range(random.randint(1, most)):
        if others and random.random() < 0.1:
            _splice(random, changed, random.choice(others))
        else:
            random.choice(_CHANGES)(random, changed)
    return bytes(changed)


def edge(random: Random, length: int) -> bytes:
    """An integer of `length` bytes, mostly one that parsers stumble over."""
    value = random.choice(EDGES) if random.random() < 0.7 else random.getrandbits(8 * length)
    return (value & ((1 << 8 * length) - 1)).to_bytes(length, random.choice(("little", "big")))


def _place(random: Random, data: bytearray) -> int:
    """Headers are small and matter most."""
    end = min(len(data), _HEADER) if random.random() < 0.4 else len(data)
    return random.randrange(end) if end else 0


def _slice(random: Random, data: bytearray) -> slice:
    start = _place(random, data)
    return slice(start, min(len(data), start + random.choice((1, 2, 4, 16, 256, 4096))))


def _flip_bits(random: Random, data: bytearray) -> None:
    for _ in range(random.choice((1, 1, 2, 8, 64))):
        if data:
            data[_place(random, data)] ^= 1 << random.randrange(8)


def _set_integer(random: Random, data: bytearray) -> None:
    start, length = _place(random, data), random.choice((1, 2, 4, 8))
    data[start : start + length] = edge(random, length)


def _truncate(random: Random, data: bytearray) -> None:
    del data[_place(random, data) :]


def _delete(random: Random, data: bytearray) -> None:
    del data[_slice(random, data)]


def _repeat(random: Random, data: bytearray) -> None:
    part = _slice(random, data)
    data[part.start : part.start] = data[part] * random.choice((1, 2, 16))


def _insert(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    data[start:start] = random.randbytes(random.choice((1, 4, 64)))


def _overwrite(random: Random, data: bytearray) -> None:
    part = _slice(random, data)
    length = part.stop - part.start
    data[part] = random.choice((bytes(length), b"\xff" * length, random.randbytes(length)))


def _splice(random: Random, data: bytearray, other: bytes) -> None:
    data[_place(random, data) :] = other[random.randrange(len(other)) :]


_CHANGES: tuple[Change, ...] = (
    _flip_bits,
    _flip_bits,
    _set_integer,
    _set_integer,
    _truncate,
    _delete,
    _repeat,
    _insert,
    _overwrite,
)

_VALUES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, -(2**63), 10**400, 1e308, -0.0, float("nan"), float("inf"), "",
    "\0", "\ud800", "é" * 1000, "a" * 100_000, [], [[]], {}, {"": None}, [0] * 1000, "../../etc/passwd", "/etc/passwd",
)  # fmt: skip


def mutated_json(random: Random, document: Any, *, most: int = 3) -> bytes:
    """The text of `document` after changes to its values, and now and then to its bytes."""
    changed = json.loads(json.dumps(document))
    for _ in range(random.randint(1, most)):
        changed = _change_node(random, changed)
    text = json.dumps(changed, ensure_ascii=random.random() < 0.5).encode(errors="surrogatepass")
    match random.randrange(20):
        case 0:
            return mutated(random, text)
        case 1:
            return b"[" * random.choice((100, 100_000)) + text
        case 2:
            return text.replace(b"1", b"9" * 5000, 1)
    return text


def _change_node(random: Random, document: Any) -> Any:
    places = list(_places(document))
    if not places:
        return deepcopy(random.choice(_VALUES))
    holder, key = random.choice(places)
    match random.randrange(6):
        case 0:
            del holder[key]
        case 1:
            holder[key] = [holder[key]] * random.choice((1, 2, 10))
        case 2 if isinstance(holder, dict):
            holder[random.choice(("name", "shape", "data", "\0", "x" * 1000))] = holder.pop(key)
        case _:
            holder[key] = deepcopy(random.choice(_VALUES))
    return document


def _places(value: Any) -> Any:
    if isinstance(value, dict | list):
        for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
            yield value, key
            yield from _places(item)
