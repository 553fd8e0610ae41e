"""Long JSON: read as orjson reads it, but in pieces, and refused where it would become far more than it is."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.runtime.serve.conftest import Running

from torchless.serve import documents
from torchless.serve.documents import MOST_VALUES, Document, load_document
from torchless.serve.errors import RequestError

SPACES = st.sampled_from(["", " ", "\n  "])
NUMBERS = st.integers(-5, 300) | st.floats(-1e9, 1e9, allow_nan=False)


def load_in_small_slices(text: str) -> Document:
    """What happens to megabytes happens to hundreds of bytes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(documents, "PARSED_AT_ONCE", 10)
        patch.setattr(documents, "_SLICE", 40)
        return load_document(text.encode())


def rebuilt(document: Document) -> list[float]:
    """The numbers of a flat or nested list, in order."""

    def walk(value: Any) -> list[float]:
        if isinstance(value, list):
            return [number for item in value for number in walk(item)]
        return [float(n) for run in document.runs[value] for n in run] if isinstance(value, str) else [value]

    return walk(document.root)


@given(
    values=st.lists(NUMBERS, min_size=1, max_size=120),
    comma=SPACES,
    bracket=SPACES,
    sides=st.sampled_from([(), (2,), (2, 3), (5, 1, 2)]),
)
def test_reads_numbers_as_orjson_does(values: list[float], comma: str, bracket: str, sides: tuple[int, ...]) -> None:
    array: Any = np.resize(np.array(values, object), (*sides, len(values)) if sides else len(values)).tolist()
    text = (
        json.dumps(array, separators=(f"{comma},{comma}", ":")).replace("[", f"[{bracket}").replace("]", f"{bracket}]")
    )
    document = load_in_small_slices(text)
    wanted = np.array(orjson.loads(text), np.float32).ravel()
    assert document.runs or wanted.size < 80
    assert np.array_equal(np.array(rebuilt(document), np.float32), wanted)


@given(text=st.text(alphabet='0123456789.-eE,[]{}": \\ntruefals', max_size=400))
@settings(max_examples=300)
def test_reads_no_more_than_orjson_does(text: str) -> None:
    """Nothing becomes valid by being cut in pieces. (Numbers in a text, of which there are none in requests, become
    invalid.)
    """
    try:
        document = load_in_small_slices(text)
    except RequestError:
        return
    wanted = orjson.loads(text)
    if not document.runs:
        assert document.root == wanted


@pytest.mark.parametrize(
    "bad",
    [
        "[1,2],3,[4,5]",
        "[1,2]],[[3,4]",
        "1,2,,3,4",
        "1,2,01,3",
        "1,2,--3,4",
        "1,2,3e,4",
        "1 2,3 4",
        "[],[],[]",
        "1,[2],3",
    ],
)
def test_refuses_what_is_no_list_of_numbers(bad: str) -> None:
    many = ",".join(["1,2"] * 30)
    with pytest.raises(RequestError, match="not valid JSON|lists that are no tensor"):
        load_in_small_slices(f"[{many},{bad},{many}]")


MIB = 1 << 20
BOMBS: dict[str, Callable[[int], bytes]] = {
    "empty lists": lambda size: b"[" + b",".join([b"[]"] * (size // 3)) + b"]",
    "lists in lists": lambda size: b"[" * size,
    "lists in lists with numbers": lambda size: b"[1," * (size // 3),
    "empty objects": lambda size: b"[" + b",".join([b"{}"] * (size // 3)) + b"]",
    "objects in objects": lambda size: b'{"a":' * (size // 5),
    "keys": lambda size: b"{" + b",".join(b'"%d":0' % i for i in range(size // 9)) + b"}",
    "texts": lambda size: b"[" + b",".join([b'""'] * (size // 3)) + b"]",
    "nulls": lambda size: b"[" + b",".join([b"null"] * (size // 5)) + b"]",
    "numbers and texts": lambda size: b"[" + b",".join([b'0,0,0,""'] * (size // 9)) + b"]",
    "deep ends": lambda size: b"[" + b",".join([b"0,0" + b"]" * 99 + b"," + b"[" * 99 + b"0,0"] * (size // 206)) + b"]",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_what_grows_is_refused_before_it_grows(bomb: Callable[[int], bytes]) -> None:
    body = bomb(2 * MIB)
    tracemalloc.start()
    with pytest.raises(RequestError, match=f"more than {MOST_VALUES} values|lists that are no tensor|not valid JSON"):
        load_document(body)
    assert tracemalloc.get_traced_memory()[1] < 2.5 * len(body)
    tracemalloc.stop()


def test_long_lists_of_numbers_need_little_more_than_their_array() -> None:
    body = b'{"data":[' + b",".join([b"0.5"] * (MIB // 4)) + b"]}"
    tracemalloc.start()
    document = load_document(body)
    assert tracemalloc.get_traced_memory()[1] < 2.5 * len(body)
    tracemalloc.stop()
    assert sum(run.size for runs in document.runs.values() for run in runs) > 0.9 * MIB // 4


@pytest.mark.parametrize("path", ["tiny/infer", "tiny_image/infer"])
def test_long_nonsense_is_a_request_error(served: Running, path: str) -> None:
    for body in (
        BOMBS["empty lists"](MIB),
        BOMBS["texts"](MIB),
        b"[" * MIB,
        b'{"inputs": [{"name": ' + b"[" * 900 + b"]" * 900 + b"}]}",
    ):
        answer = served.post(f"/v2/models/{path}", content=body)
        assert (answer.status_code, list(answer.json())) == (400, ["error"])


def test_the_index_reads_within_the_same_bounds(served: Running) -> None:
    answer = served.post("/v2/repository/index", content=BOMBS["empty objects"](MIB))
    assert answer.status_code == 400
    assert f"more than {MOST_VALUES} values" in answer.json()["error"]
