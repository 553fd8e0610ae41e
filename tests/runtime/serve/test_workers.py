"""Several processes, and the end of one: no worker serves another model than its parent proved, none outlives it, and
no request in flight is lost.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runtime.serve.conftest import Program, running
from tests.server_process import ServerProcess, wait_until
from tests.surroundings import PATIENCE_S

from torchless.errors import TorchlessError, UsageError
from torchless.model.artifact import read_artifact
from torchless.serve import workers
from torchless.serve.copies import Copies, Stock
from torchless.serve.process import pause_s
from torchless.serve.registry import Registry
from torchless.serve.repository import Key, ModelFile
from torchless.serve.settings import Settings


def workers_of(program: Program) -> list[int]:
    """The process ids of its workers."""
    pid = program.process.pid
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found if b"spawn_main" in command_of(child)]


def command_of(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""


def is_running(pid: int) -> bool:
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_a_worker_that_dies_is_replaced_by_one_that_serves_the_same_and_none_outlives_its_parent(
    program: Callable[..., Program],
    tiny: Path,
    changed: Callable[..., Path],
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The file is replaced by another model, then by a damaged one; both workers are killed, then their parent."""
    temp, served = tmp_path / "temp", tmp_path / "tiny.onnx"
    temp.mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    served.write_bytes(tiny.read_bytes())
    body = (photos / "coffee.png").read_bytes()
    started = program(served, "--workers", 2)
    wanted = started.post("/classify", body).json()
    first = workers_of(started)
    assert len(first) == 2
    other = changed(manifest=replace(read_artifact(tiny).manifest, labels=tuple("vwxyz")).to_json()).read_bytes()
    for pid, content in zip(first, (other, b"damaged"), strict=True):
        served.write_bytes(content)
        os.kill(pid, signal.SIGKILL)
        started.await_log(f"worker {pid} was killed by signal 9")
        wait_until(lambda pid=pid: pid not in workers_of(started) and len(workers_of(started)) == 2)
    wait_until(started.is_ready)
    for _ in range(12):
        assert started.post("/classify", body).json() == wanted
    changed_line = 'torchless_model_file_changed{model="tiny",version="1"} 1'
    wait_until(lambda: changed_line in started.get("/metrics").text)  # it waits for the disk no longer than a moment
    last = workers_of(started)
    started.stop(signal.SIGKILL)
    wait_until(lambda: not any(map(is_running, last)))
    assert list(temp.glob("torchless-*")) == []


def test_a_file_that_changes_before_it_is_copied(tiny: Path, tmp_path: Path) -> None:
    served = tmp_path / "tiny.onnx"
    served.write_bytes(tiny.read_bytes())
    settings = Settings(models=(served,), workers=2)
    registry = Registry(settings)
    registry.load_all()
    served.write_bytes(tiny.read_bytes() + b" ")
    with pytest.raises(UsageError, match=r"tiny\.onnx changed while it was being loaded; try again"):
        Copies(registry, settings, tmp_path).take(registry.get())


def test_a_file_that_cannot_be_copied(tiny: Path, tmp_path: Path) -> None:
    registry = Registry(settings := Settings(models=(tiny,), workers=2))
    registry.load_all()
    with pytest.raises(UsageError, match=r"cannot copy tiny for the workers: No such file or directory"):
        Copies(registry, settings, tmp_path / "gone").take(registry.get())


def test_copies_stay_until_no_worker_serves_from_them(tiny: Path, tmp_path: Path) -> None:
    registry = Registry(settings := Settings(models=(tiny,), workers=2))
    copies, paths = Copies(registry, settings, tmp_path), []
    registry.on_load = copies.take
    for _ in range(2):
        registry.replace("tiny", [registry.open(Key("tiny"), ModelFile(tiny).origin())])
        paths += [origin.path for origin in copies.stock().pinned.values()]
    copies.discard(1)
    assert [path.exists() for path in paths] == [True, True]
    copies.discard(2)
    assert [path.exists() for path in paths] == [False, True]


def test_a_worker_is_told_no_more_than_it_has_taken() -> None:
    """A pipe that nobody reads would be full one day, and its sender wait."""
    worker, told = workers._Worker.__new__(workers._Worker), list[int]()
    worker.told, worker.has, worker.tell = 1, 1, lambda stock: told.append(stock.number)
    for number in (1, 2, 3):
        worker.serve_from(Stock(number, {}))
    assert told == [2]
    worker.has = 2
    worker.serve_from(Stock(3, {}))
    assert told == [2, 3]


def test_a_worker_that_the_system_does_not_start_is_tried_again(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_log: pytest.LogCaptureFixture
) -> None:
    """The others serve on. At first it is an error: then there are none."""

    def refuse(*_: object) -> None:
        raise OSError(11, "Resource temporarily unavailable")

    settings = Settings(models=(tiny,), workers=2)
    with socket.socket() as listener:
        supervisor = workers.Supervisor(settings, listener, tmp_path, Copies(Registry(settings), settings, tmp_path))
        monkeypatch.setattr(workers, "_Worker", refuse)
        with pytest.raises(TorchlessError, match="^a worker could not be started: Resource temporarily unavailable"):
            supervisor.run()
        supervisor._waiting = [(0.0, 1)]
        supervisor._watch()
    assert [failures for _, failures in supervisor._waiting] == [2]
    assert "a worker could not be started: Resource temporarily unavailable; that is tried again" in server_log.text


def test_pauses_grow_for_a_while_however_often_it_fails() -> None:
    assert [pause_s(failures) for failures in (0, 1, 2, 6, 5000)] == [0.5, 1.0, 2.0, 30.0, 30.0]


def post(body: bytes) -> bytes:
    return b"POST /classify HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body) + body


def test_no_request_in_flight_is_lost_when_it_stops(tiny: Path, photos: Path) -> None:
    """Connections that were made but not accepted, an idle one whose next request is on its way, half a head, half a
    body: each gets its answer, and then an end that is no reset.
    """
    request, release, held = post((photos / "coffee.png").read_bytes()), threading.Event(), threading.Event()
    with running(tiny) as server, ExitStack() as stack:

        def connect(text: bytes) -> socket.socket:
            connection = socket.create_connection(server.listener.getsockname(), timeout=PATIENCE_S)
            connection.sendall(text)
            return stack.enter_context(connection)

        idle = connect(request)
        assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
        begun = [connect(request[:20]), connect(request[:1000])]
        wait_until(lambda: len(server.server.server_state.connections) == 3)
        loop = server.service.batcher._loop
        loop.call_soon_threadsafe(lambda: (held.set(), release.wait(PATIENCE_S)))
        assert held.wait(PATIENCE_S)
        unseen = [connect(request) for _ in range(20)]
        idle.sendall(request)
        server.service.stop()
        server.server.should_exit = True
        release.set()
        for connection, rest in zip(begun, (request[20:], request[1000:]), strict=True):
            connection.sendall(rest)
        for connection in (idle, *begun, *unseen):
            answer = b""
            while chunk := connection.recv(1 << 16):  # raises if it is reset
                answer += chunk
            assert answer.startswith(b"HTTP/1.1 200 ")
            assert b"connection: close" in answer


STUCK = """
import sys, threading
from torchless.serve import server
from torchless.serve.models import ServedModel
from torchless.cli.main import main
server._FORCED_S = 300.0  # it is to end by itself
ServedModel.decode = lambda self, data: threading.Event().wait()
sys.argv = ["torchless", "serve", *sys.argv[1:], "--port", "0", "--device", "cpu", "--deadline-s", "0.2"]
main()
"""


@pytest.mark.parametrize("signals", [[signal.SIGTERM], [signal.SIGHUP], [signal.SIGINT, signal.SIGINT]])
def test_a_stuck_decoder_does_not_keep_it(tiny: Path, signals: list[int]) -> None:
    started = ServerProcess([sys.executable, "-c", STUCK, tiny, "--drain-delay-s", 0])
    assert started.post("/classify", b"x").status_code == 504
    for number in signals:
        started.process.send_signal(number)
    assert started.process.wait(PATIENCE_S) == 0
    assert "stopped" in started.log


def test_hang_up_is_a_stop(program: Callable[..., Program], tiny: Path) -> None:
    started = program(tiny, "--workers", 2, "--drain-delay-s", 0)
    assert started.stop(signal.SIGHUP) == 0
    assert json.loads(started.log.splitlines()[-1])["message"] == "stopped"
