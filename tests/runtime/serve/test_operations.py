"""What an operator relies on: readiness, metrics, logs, signals, worker processes, and clear refusals."""

import json
import logging
import re
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from tests.runtime.serve.conftest import Program, Running, running
from tests.server_process import wait_until
from tests.surroundings import PATIENCE_S

from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.model.artifact import read_artifact
from torchless.serve import logs
from torchless.serve.jobs import bucket_sizes
from torchless.serve.models import ServedModel
from torchless.serve.settings import Settings


def test_every_batch_size_is_warm_before_it_is_ready(tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran, run, listeners = [], ServedModel.run, []

    def status(path: str) -> int:
        address = "{}:{}".format(*listeners[0].getsockname())
        return httpx.get(f"http://{address}/v2/health/{path}", timeout=PATIENCE_S).status_code

    def noted(model: ServedModel, batch, *, alone: bool):
        ran.append((len(batch), alone, status("ready"), status("live")))
        return run(model, batch, alone=alone)

    conftest = sys.modules["tests.runtime.serve.conftest"]
    listen = conftest.listen
    monkeypatch.setattr(conftest, "listen", lambda *where: (listeners.append(listen(*where)), listeners[0])[1])
    monkeypatch.setattr(ServedModel, "run", noted)
    with running(tiny, max_batch_size=6) as server:
        assert ran == [(size, alone, 503, 200) for size in bucket_sizes(6) for alone in (True, False)]
        assert server.client.get("/v2/health/ready").status_code == 200


def test_metrics(tiny: Path, photos: Path) -> None:
    with running(tiny) as server:
        server.post("/classify", files=[("a", ("a", (photos / "coffee.png").read_bytes())), ("b", ("b", b"broken"))])
        server.post("/classify?model=none", content=b"")
        server.client.get("/nowhere")
        wanted = {
            'torchless_requests_total{endpoint="/classify",model="tiny",status="200",version="1"}': 1,
            'torchless_requests_total{endpoint="/classify",model="",status="404",version=""}': 1,
            'torchless_requests_total{endpoint="other",model="",status="404",version=""}': 1,
            'torchless_request_seconds_count{endpoint="/classify",model="tiny",version="1"}': 1,
            'torchless_images_total{model="tiny",outcome="ok",version="1"}': 1,
            'torchless_images_total{model="tiny",outcome="bad_image",version="1"}': 1,
            'torchless_batch_size_bucket{le="1.0",model="tiny",version="1"}': 1,
            "torchless_queue_images": 0,
            "torchless_models": 1,
        }
        wanted |= {
            f'torchless_stage_seconds_count{{model="tiny",stage="{stage}",version="1"}}': 1
            for stage in ("queue", "decode", "preprocess", "inference")
        }
        assert {line: server.metric(line) for line in wanted} == wanted
        assert server.client.get("/metrics").headers["content-type"].startswith("text/plain")


def begin_request(program: Program, body: bytes) -> socket.socket:
    """A request that the server has accepted, but whose body is not sent yet."""
    host, port = program.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), timeout=PATIENCE_S)
    connection.sendall(
        b"POST /classify HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
    return connection


def rest_of(connection: socket.socket) -> bytes:
    received = b""
    while chunk := connection.recv(65536):
        received += chunk
    return received


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_drains(program: Callable[..., Program], tiny: Path, photos: Path, workers: int) -> None:
    """Not ready, then no new connections; what was accepted is answered; exit code 0; nothing on stdout."""
    started = program(tiny, "--workers", workers, "--drain-delay-s", 0.5)
    body = (photos / "coffee.png").read_bytes()
    for _ in range(4):
        assert started.post("/classify", body).status_code == 200
    answered = 'torchless_requests_total{endpoint="/classify",model="tiny",status="200",version="1"} 4.0\n'
    wait_until(lambda: answered in started.get("/metrics").text)  # of all workers; each counts after it answers
    accepted = begin_request(started, body)
    started.process.send_signal(signal.SIGTERM)
    wait_until(lambda: not started.is_ready())
    accepted.sendall(body)
    with accepted:
        answer = rest_of(accepted)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"connection: close" in answer
    assert started.stop() == 0
    assert started.output == ""
    rows = [json.loads(line) for line in started.log.splitlines()]
    assert rows[-1]["message"] == "stopped"
    (first, *_) = (row for row in rows if row.get("path") == "/classify")
    assert (first["level"], first["method"], first["path"], first["status"], first["model"]) == (
        "info",
        "POST",
        "/classify",
        200,
        "tiny",
    )
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", first["time"])
    assert sum(row.get("path") == "/classify" for row in rows) == 5


def test_ctrl_c_stops_it_at_once(program: Callable[..., Program], tiny: Path) -> None:
    assert program(tiny, "--drain-delay-s", 3600).stop(signal.SIGINT) == 0


def test_what_is_refused_before_it_listens(
    command_line: Callable[..., tuple[int, str, str]], tiny: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.onnx").write_bytes(b"nonsense")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "tiny.onnx").write_bytes(tiny.read_bytes())
    (tmp_path / "a" / "tiny_image.onnx").write_bytes(tiny.read_bytes())
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = [
            ([tmp_path / "none.onnx"], 3, "none.onnx"),
            ([tmp_path / "bad.onnx"], 3, "bad.onnx"),
            ([tmp_path / "empty"], 2, "there is no .onnx file in"),
            ([tmp_path / "a" / "tiny.onnx", tmp_path / "b"], 2, "would both be called 'tiny'"),
            ([tmp_path / "a"], 2, "a model called 'tiny_image' cannot be served with 'tiny'"),
            ([tiny, "--port", port], 2, f"port {port}: Address already in use; give another --port\n"),
            ([tiny, "--host", "nowhere.invalid"], 2, "cannot listen on nowhere.invalid"),
            ([tiny, "--device", "tpu"], 2, "unknown device"),
            ([tiny, "--workers", 2, "--allow-model-control"], 2, "model control reaches one process"),
            ([tiny, "--max-body-mb", 600], 2, "(--max-bodies-mb), which is less than one: 600 (--max-body-mb)"),
        ]
        for arguments, wanted, says in cases:
            code, out, err = command_line("torchless", "serve", *arguments)
            assert (code, out, says in err) == (wanted, "", True), err


def test_a_megabyte_of_a_body_is_a_million_bytes(
    command_line: Callable[..., tuple[int, str, str]], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Settings] = []
    monkeypatch.setattr("torchless.serve.start.serve", lambda settings, **_: given.append(settings))
    monkeypatch.setattr("torchless.image.decode.take_pillow_over", lambda _: None)
    assert command_line("torchless", "serve", tiny, "--max-body-mb", 1.5)[0] == 0
    assert (given[0].max_body_bytes, given[0].max_bodies_bytes) == (1_500_000, 512_000_000)


def test_a_file_without_a_manifest(
    command_line: Callable[..., tuple[int, str, str]], changed: Callable[..., Path]
) -> None:
    code, _, err = command_line("torchless", "serve", changed(manifest=""))
    assert code == 3
    assert "has no manifest, so it does not say how to prepare images; give --manifest" in err


def test_a_file_that_its_operator_describes(changed: Callable[..., Path], tiny: Path, photos: Path) -> None:
    body = (photos / "coffee.png").read_bytes()
    opening = ModelOptions(manifest=read_artifact(tiny).manifest, labels=tuple("abcde"))
    with running(changed(manifest=""), opening=opening) as server:
        (model,) = server.client.get("/models").json()
        assert (model["classes"], model["warnings"]) == (5, [])
        assert server.post("/classify", content=body).json()["predictions"][0]["label"] in opening.labels


def test_without_the_extra(
    command_line: Callable[..., tuple[int, str, str]], tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [
        name
        for name in sys.modules
        if name.startswith(("torchless.serve.server", "torchless.serve.start", "torchless.serve.workers"))
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    code, _, err = command_line("torchless", "serve", tiny)
    assert code == 2
    assert "pip install 'torchless[serve]'" in err


@pytest.mark.parametrize("name", ["workers", "max_queue", "max_batch_size"])
def test_settings_that_make_no_sense(name: str) -> None:
    with pytest.raises(UsageError, match=f"`{name}` must be at least 1, got 0"):
        Settings(models=(), **{name: 0})


def test_a_second_thread_count_has_one_session(tiny: Path) -> None:
    """Given --threads there is one session, and no more threads than processors."""
    with running(tiny, opening=ModelOptions(threads=1)) as server:
        classifier = server.registry.get().classifier
        assert classifier.threads == 1
        assert classifier._shared_session is None


def test_what_is_logged(served: Running, server_log: pytest.LogCaptureFixture) -> None:
    """Every request except those that machines send every few seconds; nothing from a client can start a line of its
    own.
    """
    for path in ("/v2/health/ready", "/metrics", "/models", "/a%0Ab c"):
        served.client.get(path)
    wait_until(lambda: server_log.records and server_log.records[-1].fields["path"] == "/a\nb c")
    *_, before, last = server_log.records  # that of an earlier test's request may be the first
    assert before.fields["path"] == "/models"
    assert not {"/v2/health/ready", "/metrics"} & {record.fields["path"] for record in server_log.records}
    assert (
        logs.TextFormatter()
        .format(last)
        .endswith(f'info request method=GET path="/a\\nb c" status=404 ms={last.fields["ms"]} client=127.0.0.1')
    )


def test_malformed_forms_are_not_logged_by_their_parser() -> None:
    logs.configure("text")
    assert not logging.getLogger("python_multipart.multipart").isEnabledFor(logging.WARNING)
