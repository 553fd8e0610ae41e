"""What a client may send before anybody knows who it is: heads, trailers, small pieces, idle connections."""

import errno
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.serve.conftest import Running, Valve, running
from tests.server_process import wait_until
from tests.surroundings import PATIENCE_S

from torchless.errors import ImageDecodeError
from torchless.serve import descriptors
from torchless.serve.bodies import Bodies
from torchless.serve.connection import MAX_HEAD_BYTES, MAX_HEADERS, Connection
from torchless.serve.models import ServedModel
from torchless.serve.occupancy import Occupancy, Waits
from torchless.serve.pace import Pace, Pieces
from torchless.serve.service import Service

GET = b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n"
CHUNKED = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"


def talk(server: Running, *parts: bytes, header_timeout_s: float | None = None) -> bytes:
    """What the server answers to these parts until it closes the connection; it may close before it read them all."""
    with server.connect(header_timeout_s=header_timeout_s) as connection:
        try:
            for part in parts:
                connection.sendall(part)
        except (BrokenPipeError, ConnectionResetError):
            pass
        return until_closed(connection)


def until_closed(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(1 << 16):
        received += chunk
    return received


@pytest.mark.parametrize(
    ("parts", "status", "says"),
    [
        ([GET, b"X: ", *[b"x" * 4096] * 18], 431, f"exceed {MAX_HEAD_BYTES} bytes"),
        ([b"GET /", *[b"x" * 4096] * 18], 431, f"exceed {MAX_HEAD_BYTES} bytes"),
        ([GET, *[b"a:\r\n"] * MAX_HEADERS, b"\r\n"], 431, f"more than {MAX_HEADERS} headers"),
        ([CHUNKED, b"1\r\nx\r\n0\r\n", *[b"T: t\r\n" * 1024] * 12], 431, f"exceed {MAX_HEAD_BYTES} bytes"),
        ([CHUNKED, b"1;", *[b"e" * 4096] * 18], 431, f"exceed {MAX_HEAD_BYTES} bytes"),
        ([b"nonsense\r\n\r\n"], 400, "this is not HTTP"),
        ([CHUNKED, b"zz\r\n"], 400, "this is not HTTP"),
        ([GET, b"Content-Length: -1\r\n\r\n"], 400, "this is not HTTP"),
    ],
)
def test_heads_and_trailers_have_limits_and_errors_are_json(
    served: Running, parts: list[bytes], status: int, says: str
) -> None:
    head, _, body = talk(served, *parts).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in head
    assert says in json.loads(body)["error"]
    assert served.service.bodies._held == 0


def test_what_is_below_the_limits_is_answered(served: Running) -> None:
    headers = b"".join(b"X-%d: %s\r\n" % (i, b"x" * 240) for i in range(MAX_HEADERS - 3))
    assert len(headers) > 60_000
    assert talk(served, GET + headers + b"Connection: close\r\n\r\n").startswith(b"HTTP/1.1 200 ")


def test_trailers_are_not_headers(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    on_message_complete = Connection.on_message_complete
    monkeypatch.setattr(
        Connection, "on_message_complete", lambda self: (seen.extend(self.headers), on_message_complete(self))
    )
    with socket.create_connection(served.listener.getsockname(), timeout=PATIENCE_S) as connection:
        connection.sendall(CHUNKED + b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n")
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 400 ")
    assert [name for name, _ in seen] == [b"host", b"transfer-encoding"]


def test_requests_behind_others_are_answered_in_order_and_read_only_then(
    served: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A thousand in one piece: memory is for a few, and none is lost; then the one that is broken is told so."""
    longest, feed = [0], Connection._feed

    def watched(connection: Connection, size: int) -> None:
        feed(connection, size)
        longest.append(len(connection.pipeline))

    monkeypatch.setattr(Connection, "_feed", watched)
    paths = [b"/v2/models/m%d" % number for number in range(1000)]
    requests = b"".join(b"GET %s HTTP/1.1\r\nHost: localhost\r\n\r\n" % path for path in paths)
    answers = talk(served, requests + b"\0\r\n\r\n").split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"404"] * 1000 + [b"400"]
    assert all(b"'m%d'" % number in answer for number, answer in enumerate(answers[:-1]))
    assert 0 < max(longest) < 120


def test_a_slow_head_behind_another_request_is_cut_off(tiny: Path) -> None:
    with running(tiny, header_timeout_s=3600.0) as server:
        assert talk(server, GET + b"\r\n" + GET, header_timeout_s=0.1).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(("pieces", "header_timeout_s"), [(40, None), (1, 0.1)])
def test_the_body_of_a_request_that_was_refused_is_limited_too(
    tiny: Path, pieces: int, header_timeout_s: float | None
) -> None:
    """In bytes and in time."""
    with running(tiny, api_keys=("k" * 16,), max_body_bytes=100_000, header_timeout_s=3600.0) as server:
        parts = [CHUNKED, *[b"2000\r\n" + b"x" * 0x2000 + b"\r\n"] * pieces]
        answer = talk(server, *parts, header_timeout_s=header_timeout_s)
        assert answer.startswith(b"HTTP/1.1 401 ")


def test_small_pieces_wake_nobody_and_are_read_slowly(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """2,000 chunks of one byte: the request reads one body, and the connection is left alone for a while after each
    few.
    """
    woken, waits = [], []
    reserve, wait_s = Bodies._reserve, Pace.wait_s
    monkeypatch.setattr(Bodies, "_reserve", lambda self, size: (woken.append(size), reserve(self, size))[1])
    monkeypatch.setattr(Pace, "wait_s", lambda self, pieces: (waits.append(pieces), wait_s(self, pieces))[1])
    with socket.create_connection(served.listener.getsockname(), timeout=PATIENCE_S) as connection:
        connection.sendall(CHUNKED + b"1\r\nx\r\n" * 2000 + b"0\r\n\r\n")
        assert b"not an image" in connection.recv(1 << 16)
    assert sum(woken) == 2000
    assert len(woken) <= 2
    assert sum(waits) > 1500
    assert len(waits) >= 3


def test_pieces_that_bring_something_cost_nothing() -> None:
    pieces = Pieces()
    for _ in range(10_000):
        pieces.add(0)  # a read
        pieces.add(1460)
    assert pieces.take_excess() == 0
    for _ in range(100):
        pieces.add(1)
    assert 30 < pieces.take_excess() < 40
    assert pieces.take_excess() == 0


@given(st.lists(st.tuples(st.floats(0, 10), st.floats(0, 10_000)), max_size=20))
def test_the_pace_is_that_of_all_connections_together(sent: list[tuple[float, float]]) -> None:
    """However they take turns, no more pieces are read within a time than fit into it."""
    now = [100.0]
    pace, total = Pace(lambda: now[0]), 0.0
    for after_s, pieces in sent:
        now[0] += after_s
        total += pieces
        assert pace.wait_s(pieces) <= total / 10_000 + 1e-6
        assert pace.wait_s(0) + now[0] - 100 >= total / 10_000 - 1e-6


class Guest:
    def __init__(self) -> None:
        self.left = False

    def make_way(self) -> None:
        self.left = True


@given(st.lists(st.tuples(st.integers(0, 5), st.sampled_from([*Waits, None])), max_size=60))
def test_room_is_made_by_those_that_owe_something_longest(steps: list[tuple[int, Waits | None]]) -> None:
    occupancy, guests = Occupancy(3), [Guest() for _ in range(6)]
    model: list[tuple[Waits, Guest]] = []  # in the order of what happened
    for which, waits in steps:
        guest = guests[which]
        if waits is None:
            occupancy.remove(guest)
            model = [one for one in model if one[1] is not guest]
            continue
        model = [one for one in model if one[1] is not guest] + [(waits, guest)]
        occupancy.put(guest, waits)
        guest.left = False
    closable = sorted((one for one in model if one[0] is not Waits.ANSWER), key=lambda one: one[0])
    leave = max(0, len(model) - 2)
    assert occupancy.make_room() == (len(closable) >= leave)
    assert [guest for guest in guests if guest.left] == [
        guest for guest in guests if guest in [one[1] for one in closable[:leave]]
    ]


def test_idle_connections_make_way(tiny: Path, valve: Valve, photos: Path) -> None:
    """Those that wait for their client are closed, longest first; where all wait for the server, a new one is told."""
    body = (photos / "coffee.png").read_bytes()
    post = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with running(tiny, max_connections=4) as server, ExitStack() as stack:

        def connect(text: bytes = b"") -> socket.socket:
            connection = socket.create_connection(server.listener.getsockname(), timeout=PATIENCE_S)
            connection.sendall(text)
            return stack.enter_context(connection)

        idle = [connect() for _ in range(12)]
        assert server.client.get("/v2").status_code == 200
        assert [until_closed(connection) for connection in idle[:8]] == [b""] * 8
        server.client.close()
        valve.close()
        working = [connect(post) for _ in range(4)]
        wait_until(lambda: len(server.server.config.occupancy._places[Waits.ANSWER]) == 4)
        answer = until_closed(connect(GET + b"\r\n"))
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"retry-after: 1" in answer
        assert "too many connections" in json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
        valve.open()
        assert all(connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ") for connection in working)


def test_the_limit_on_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is raised as far as it may be, and connections get what is left."""
    resource = pytest.importorskip("resource")
    limits = [256, 400]
    monkeypatch.setattr(resource, "getrlimit", lambda _: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda _, wanted: limits.__setitem__(slice(None), wanted))
    assert descriptors.connections_for(1000) == (400 - 64) // 2
    assert limits == [400, 400]
    limits[:] = 256, 1 << 20
    assert descriptors.connections_for(1000) == 1000
    assert limits == [2064, 1 << 20]


def test_no_files_left_is_not_the_images_fault_and_names_no_path(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tiny) as server:

        def no_files(_: bytes) -> None:
            raise ImageDecodeError("cannot decode: /srv/x.py") from OSError(errno.EMFILE, "too many", "/srv/x.py")

        monkeypatch.setattr(server.registry.get().classifier, "decode_with_warning", no_files)
        answer = server.post("/classify", content=b"x")
        assert (answer.status_code, "/srv" in answer.text) == (503, False)


def test_no_answer_names_a_path_of_this_machine(tiny: Path, tmp_path: Path) -> None:
    served, other = tmp_path / "tiny.onnx", tmp_path / "folder/other.onnx"
    other.parent.mkdir()
    for path in (served, other):
        path.write_bytes(tiny.read_bytes())
    with running(served, other.parent, allow_model_control=True) as server:
        served.write_bytes(b"damaged")
        answers = [server.post("/v2/repository/models/tiny/load")]
        served.unlink()
        answers += [server.post("/v2/repository/models/tiny/load"), server.post("/v2/repository/index")]
        other.unlink()
        answers += [server.post("/v2/repository/models/other/load"), server.post("/v2/repository/index")]
        answers += [server.client.get("/models"), server.client.get("/metrics")]
        assert [answer.status_code for answer in answers] == [400, 400, 200, 400, 400, 200, 200]
        assert not [answer.text for answer in answers if str(tmp_path) in answer.text]


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def test_loads_and_a_slow_disk_hold_up_nobody_else(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, gate: threading.Event
) -> None:
    """16 loads that do not end, and a file system that does not answer: images, large tensors and metrics do."""
    with running(tiny, allow_model_control=True) as server, ExitStack() as stack:
        monkeypatch.setattr(server.registry, "load", lambda *_, **__: gate.wait(PATIENCE_S))
        monkeypatch.setattr(ServedModel, "file_changed", property(lambda _: gate.wait(PATIENCE_S)))
        load = b"POST /v2/repository/models/tiny/load HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"
        for _ in range(16):
            connection = stack.enter_context(socket.create_connection(server.listener.getsockname()))
            connection.sendall(load)
        wait_until(lambda: server.service._loads == 16)
        assert server.post("/v2/repository/models/tiny/load").status_code == 503
        assert server.post("/classify", content=(photos / "coffee.png").read_bytes()).status_code == 200
        tensor = {"name": "input", "datatype": "FP32", "shape": [40, 3, 32, 32], "data": [0.0] * 40 * 3072}
        assert server.post("/v2/models/tiny/infer", json={"inputs": [tensor]}).status_code == 200
        assert "torchless_model_file_changed" in server.client.get("/metrics").text
        assert isinstance(server.service, Service)
        gate.set()
