"""Overload, slow and vanishing clients, limits, and defects of our own."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
from tests.runtime.serve.conftest import PHOTOS, Running, Valve, running
from tests.server_process import wait_until
from tests.surroundings import PATIENCE_S

from torchless.serve.models import ServedModel


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


@pytest.fixture(scope="module")
def coffee(photos: Path) -> bytes:
    return (photos / "coffee.png").read_bytes()


def connect(server: Running, text: bytes) -> socket.socket:
    connection = socket.create_connection(server.listener.getsockname(), timeout=PATIENCE_S)
    connection.sendall(text)
    return connection


def occupy(
    server: Running, valve: Valve, pool: ThreadPoolExecutor, image: bytes, waiting: int
) -> list[Future[httpx.Response]]:
    """As many requests as all threads can hold behind the valve, and `waiting` that wait."""
    valve.close()
    batcher = server.service.batcher
    held = []
    for busy in range(1, len(batcher._threads) + 1):
        held.append(pool.submit(server.post, "/classify", content=image))
        wait_until(lambda busy=busy: valve.entered == busy)
    for place in range(1, waiting + 1):
        held.append(pool.submit(server.post, "/classify", content=image))
        wait_until(lambda place=place: batcher.waiting == place)
    return held


def test_a_full_queue(tiny: Path, coffee: bytes, valve: Valve, pool: ThreadPoolExecutor) -> None:
    """Accepted requests are answered; more are told when to come back; then everything works again."""
    with running(tiny, max_queue=2) as server:
        held = occupy(server, valve, pool, coffee, waiting=2)
        for path, request in (
            ("/classify", {"content": coffee}),
            ("/v2/models/tiny_image/infer", {"content": coffee, "headers": {"inference-header-content-length": "0"}}),
        ):
            answer = server.post(path, **request)
            assert (answer.status_code, answer.json()) == (
                503,
                {"error": "the queue is full: 2 of 2 images wait; try again in 1 s"},
            )
            assert answer.headers["retry-after"] == "1"
        assert server.post("/classify", files=[("a", ("a", coffee))] * 3).status_code == 400
        assert server.metric("torchless_queue_images") == 2
        valve.open()
        assert [future.result().status_code for future in held] == [200] * len(held)
        assert server.post("/classify", content=coffee).status_code == 200
        assert (
            server.metric('torchless_requests_total{endpoint="/classify",model="tiny",status="503",version="1"}') == 1
        )


def test_the_deadline(tiny: Path, coffee: bytes, valve: Valve, pool: ThreadPoolExecutor) -> None:
    with running(tiny, deadline_s=0.2) as server:
        valve.close()
        answer = server.post("/classify", content=coffee)
        assert (answer.status_code, answer.json()) == (504, {"error": "no answer within 0.2 s"})
        valve.open()
        wait_until(lambda: server.service.batcher._in_flight == 0)


def test_a_request_may_have_a_shorter_deadline(tiny: Path, valve: Valve) -> None:
    with running(tiny) as server:
        valve.close()
        tensor = {"name": "input", "datatype": "FP32", "shape": [1, 3, 32, 32], "data": [0] * 3072}
        answer = server.post("/v2/models/tiny/infer", json={"inputs": [tensor], "parameters": {"timeout": 100_000}})
        assert (answer.status_code, answer.json()) == (504, {"error": "no answer within 0.1 s"})
        valve.open()


def test_a_client_that_goes_away_frees_its_place(
    tiny: Path, coffee: bytes, valve: Valve, pool: ThreadPoolExecutor
) -> None:
    with running(tiny, max_queue=1) as server:
        held = occupy(server, valve, pool, coffee, waiting=0)
        gone = connect(
            server, b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(coffee) + coffee
        )
        wait_until(lambda: server.service.batcher.waiting == 1)
        gone.close()
        wait_until(lambda: server.service.batcher.waiting == 0)
        held.append(pool.submit(server.post, "/classify", content=coffee))
        wait_until(lambda: server.service.batcher.waiting == 1)
        valve.open()
        assert [future.result().status_code for future in held] == [200] * len(held)
        assert server.service.batcher._in_flight == 0


def test_a_client_that_goes_away_while_it_sends(tiny: Path) -> None:
    with running(tiny) as server:
        connect(server, b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf").close()
        wait_until(
            lambda: (
                server.metric('torchless_requests_total{endpoint="/classify",model="tiny",status="499",version="1"}')
                == 1
            )
        )
        assert server.service.bodies._held == 0


def test_bodies_that_are_too_large(tiny: Path, coffee: bytes) -> None:
    def pieces() -> Iterator[bytes]:
        yield from [b"x" * 60_000] * 20

    with running(tiny, max_body_bytes=500_000) as server:
        for content in (b"x" * 1_200_000, pieces()):
            answer = server.post("/classify", content=content)
            assert (answer.status_code, "more than 500000 bytes" in answer.json()["error"]) == (413, True)
            assert answer.headers["connection"] == "close"
        asking = connect(
            server,
            b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9999999\r\nExpect: 100-continue\r\n\r\n",
        )
        assert asking.recv(100).startswith(b"HTTP/1.1 413 ")
        asking.close()
        assert server.post("/classify", content=coffee).status_code == 200
        assert server.service.bodies._held == 0


def test_the_memory_for_all_bodies(tiny: Path, coffee: bytes) -> None:
    with running(tiny, max_body_bytes=500_000, max_bodies_bytes=500_000) as server:
        head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 400000\r\n\r\n"
        announced = [connect(server, head) for _ in range(16)]
        assert server.post("/classify", content=coffee).status_code == 200  # what did not arrive takes no room
        one = announced.pop()
        one.sendall(b"x" * 399_000)
        wait_until(lambda: server.service.bodies._held > 300_000)
        answer = server.post("/classify", content=coffee)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        for connection in (one, *announced):
            connection.close()
        wait_until(lambda: server.service.bodies._held == 0)
        assert server.post("/classify", content=coffee).status_code == 200


def test_slow_clients_are_cut_off(tiny: Path) -> None:
    with running(tiny, body_timeout_s=0.1, header_timeout_s=3600.0) as server:
        with connect(server, b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\nhalf") as body:
            answer = body.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"the body did not arrive within 0.1 s" in answer
            assert body.recv(1) == b""
        with server.connect(header_timeout_s=0.1) as headers, suppress(ConnectionResetError):
            headers.sendall(b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert headers.recv(10_000).startswith(b"HTTP/1.1 200 ")
            headers.sendall(b"GET /v2")  # it begins another request
            assert headers.recv(1) == b""
        for text in (b"", b"GET /v2 HTTP/1.1\r\nHost"):
            with server.connect() as headers, suppress(ConnectionError):
                headers.sendall(text)
                assert headers.recv(1) == b""


def test_a_client_that_takes_no_answers_is_cut_off(tiny: Path) -> None:
    with running(tiny, body_timeout_s=0.2) as server, socket.socket() as deaf:
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.connect(server.listener.getsockname())
        with suppress(ConnectionError):  # it may be cut off before it has said all
            deaf.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000)
        wait_until(
            lambda: (
                server.metric('torchless_requests_total{endpoint="/openapi.json",model="",status="200",version=""}')
                > 10
            )
        )
        wait_until(lambda: len(server.server.server_state.connections) == 1)  # that of the tests' own client


def test_a_defect_is_a_500_that_tells_nothing(
    tiny: Path, coffee: bytes, monkeypatch: pytest.MonkeyPatch, server_log: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("secret")

    with running(tiny) as server, monkeypatch.context() as patch:
        patch.setattr(ServedModel, "decode", broken)
        answer = server.post("/classify", content=coffee)
        assert (answer.status_code, answer.json()) == (
            500,
            {"error": "internal error; the server's log has the details"},
        )
        patch.undo()
        assert "ZeroDivisionError: secret" in server_log.text
        assert server.post("/classify", content=coffee).status_code == 200


def test_a_model_that_fails_is_a_500_with_the_reason(
    tiny: Path, coffee: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running(tiny) as server:
        monkeypatch.setattr(
            ServedModel, "run", lambda self, batch, *, alone: np.full((len(batch), 5), np.nan, np.float32)
        )
        for path, headers in (
            ("/classify", {}),
            ("/v2/models/tiny_image/infer", {"inference-header-content-length": "0"}),
        ):
            answer = server.post(path, content=coffee, headers=headers)
            assert (answer.status_code, answer.json()["error"]) == (500, "the model's output contains NaN or infinity")


def test_methods_that_are_not_there(served: Running) -> None:
    for method, path in (("GET", "/classify"), ("POST", "/v2"), ("DELETE", "/v2/models/tiny/infer")):
        answer = served.client.request(method, path)
        assert (answer.status_code, list(answer.json())) == (405, ["error"])
        assert answer.headers["allow"]


@pytest.mark.parametrize("workers_settings", [{}, {"batch_delay_ms": 5, "max_batch_size": 5}])
def test_no_answer_is_crossed(tiny: Path, photos: Path, pool: ThreadPoolExecutor, workers_settings: dict) -> None:
    """Many clients at once, on every endpoint; each checks that the answer is that of its own image, which no other
    image has.
    """
    images = [(photos / name).read_bytes() for name in PHOTOS]
    with running(tiny, **workers_settings) as server:
        model = server.registry.get()
        wanted = [model.classifier.logits([image])[0] for image in images]
        tops = [model.classifier.classify(image).predictions[0].probability for image in images]
        assert min(np.diff(sorted(tops))) > 0.01

        def is_of(row: dict, which: int) -> bool:
            return abs(row["predictions"][0]["probability"] - tops[which]) < 1e-3

        def ask(number: int) -> bool:
            which, how = number % len(images), number // len(images) % 3
            image = images[which]
            if how == 0:
                return is_of(server.post("/classify", content=image).json(), which)
            if how == 1:
                first, second = server.post("/classify", files=[("a", ("a", image)), ("b", ("b", images[0]))]).json()
                return is_of(first, which) and is_of(second, 0)
            tensor = model.classifier.preprocess(image)
            header = {
                "inputs": [
                    {
                        "name": "input",
                        "shape": [1, *tensor.shape],
                        "datatype": "FP32",
                        "parameters": {"binary_data_size": tensor.nbytes},
                    }
                ]
            }
            text = json.dumps(header).encode()
            answer = server.post(
                f"/v2/models/{model.name}/infer",
                content=text + tensor.tobytes(),
                headers={"inference-header-content-length": str(len(text))},
            )
            return np.allclose(answer.json()["outputs"][0]["data"], wanted[which], rtol=1e-3, atol=1e-4)

        assert all(pool.map(ask, range(48)))
