"""Processes that work on images beside the server: the answers are the same, and so is what they go wrong with."""

import json
import os
import pickle
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
from tests.runtime.serve.conftest import Program, Running, running
from tests.runtime.serve.test_workers import is_running
from tests.server_process import wait_until
from tests.surroundings import PATIENCE_S

from torchless.cpus import available_cpus
from torchless.engine.options import ModelOptions
from torchless.errors import InferenceError
from torchless.model.artifact import read_artifact
from torchless.serve import hands
from torchless.serve.errors import OverloadedError
from torchless.serve.settings import Settings

SMALL = b"P6 8 8 255 " + bytes(8 * 8 * 3)  # an image that a process can be sent that does not read


@pytest.fixture
def apart(tiny: Path, tmp_path: Path) -> "Running":
    """A server of a model file that may be replaced, with two processes."""
    served = tmp_path / "tiny.onnx"
    served.write_bytes(tiny.read_bytes())
    with running(served, processes=2, allow_model_control=True) as server:
        yield server


def post_many(server: Running, body: bytes, times: int = 24) -> list[httpx.Response]:
    """Several at once, so that none is alone."""
    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(lambda _: server.post("/classify", content=body), range(times)))


def test_the_same_answers_and_one_count_of_them(apart: Running, served: Running, images: list[bytes]) -> None:
    form = [("image", (f"{i}.png", image)) for i, image in enumerate([*images, b"broken", b""])]
    wanted = served.post("/classify", files=form).json()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: apart.post("/classify", files=form).json(), range(8)))
    assert found == [wanted] * 8
    assert [bool(row["error"]) for row in wanted] == [False, False, False, True, True]
    assert apart.metric('torchless_images_total{model="tiny",outcome="ok",version="1"}') == 24
    assert apart.metric('torchless_images_total{model="tiny",outcome="bad_image",version="1"}') == 16
    (statistics,) = apart.client.get("/v2/models/tiny_image/stats").json()["model_stats"]
    assert statistics["inference_count"] == 24


def test_a_process_that_dies_is_named_and_replaced_by_one_that_serves_the_same(
    apart: Running, changed: Callable[..., Path], tiny: Path, photos: Path, server_log: pytest.LogCaptureFixture
) -> None:
    """Also if the file is another model by then."""
    body = (photos / "coffee.png").read_bytes()
    wanted = apart.post("/classify", content=body).json()
    other = changed(manifest=replace(read_artifact(tiny).manifest, labels=tuple("vwxyz")).to_json())
    apart.registry.get().classifier.artifact.path.write_bytes(other.read_bytes())
    first = apart.service.hands.pids()
    assert len(first) == 2
    for pid in first:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: len(apart.service.hands.pids()) == 2 and not set(first) & set(apart.service.hands.pids()))
    assert [answer.json() for answer in post_many(apart, body)] == [wanted] * 24
    for pid in first:
        assert f"process {pid} for images was killed by signal 9; another is started" in server_log.text


@pytest.mark.parametrize(("together", "failed"), [(1, [True, True, False]), (4, [False, False, True])])
def test_an_image_that_ends_its_process_fails_and_no_other(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, together: int, failed: list[bool]
) -> None:
    """Stopped processes have images in hand when they are killed. Those that it had together are tried one by one."""
    monkeypatch.setattr("torchless.serve.settings.available_cpus", lambda: 2)
    monkeypatch.setattr(hands, "max_batch_size", lambda _: together)
    begun, answers = threading.Semaphore(0), hands.Hand._answers
    monkeypatch.setattr(hands.Hand, "_answers", lambda self: (begun.release(), answers(self))[1])
    with running(tiny, processes=2) as server, ThreadPoolExecutor(1) as pool:
        pids = server.service.hands.pids()
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        pending = pool.submit(server.post, "/classify", files=[("image", SMALL)] * 3)
        assert all(begun.acquire(timeout=PATIENCE_S) for _ in pids)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        rows = pending.result().json()
    assert [bool(row["error"]) for row in rows] == failed
    assert {row["error"] for row in rows} == {None, "the process that worked on this image ended"}


@pytest.mark.parametrize(("image", "failed"), [(SMALL, 1), ("coffee.png", 0)], ids=["read", "not read"])
def test_a_process_that_does_not_answer_is_ended(
    tiny: Path,
    photos: Path,
    monkeypatch: pytest.MonkeyPatch,
    server_log: pytest.LogCaptureFixture,
    image: str | bytes,
    failed: int,
) -> None:
    """What it has read fails, and what it has not is worked on elsewhere: a pipe holds only a small image."""
    monkeypatch.setattr(hands, "_WATCH_S", 0.05)
    monkeypatch.setattr("torchless.serve.settings.available_cpus", lambda: 2)
    monkeypatch.setattr(hands, "max_batch_size", lambda _: 1)
    answers, waits_for = hands.Hand._answers, hands.Hand.waits_for
    with running(tiny, processes=1) as server:
        (pid,) = server.service.hands.pids()
        os.kill(pid, signal.SIGSTOP)

        def lose_patience(hand: hands.Hand | None = None) -> None:
            server.service.hands._patience_s = 0.0
            return hand and answers(hand)

        # with that process alone, and not before it has the small image
        monkeypatch.setattr(hands.Hand, "waits_for", lambda hand: waits_for(hand) if hand.process.pid == pid else 0.0)
        monkeypatch.setattr(hands.Hand, "_answers", lose_patience)
        if not failed:
            lose_patience()
        body = image if isinstance(image, bytes) else (photos / image).read_bytes()
        rows = server.post("/classify", files=[("image", body)] * 3).json()
    errors = [row["error"] for row in rows if row["error"] is not None]
    assert errors == ["the process that worked on this image ended"] * failed
    assert f"process {pid} for images does not answer, and is ended" in server_log.text


def test_images_do_not_wait_for_ever_for_a_process() -> None:
    """None can be started again, for example. In the server itself, what ended one could end all."""
    alone = hands.Hands(Settings(models=(Path("m.onnx"),)), 1)
    alone._patience_s = 0.0
    assert isinstance(alone._work_alone(1, b""), InferenceError)
    alone.close()


def test_models_that_come_and_go_while_a_process_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    """It works on images of all that are there when it is ready, and holds no other."""
    several, said = hands.Hands(Settings(models=(Path("m.onnx"),)), 1), list[tuple[str, int]]()

    class Starting:
        def __init__(self, _: Settings, contents: list[SimpleNamespace]) -> None:
            self.known = {content.key for content in contents}

        def ready(self) -> None:
            several._contents = {2: SimpleNamespace(key=2), 3: SimpleNamespace(key=3)}

        def load(self, content: SimpleNamespace) -> None:
            said.append(("load", content.key))

        def forget(self, key: int) -> None:
            said.append(("forget", key))

        def kill(self) -> None:
            said.append(("kill", 0))

    monkeypatch.setattr(hands, "Hand", Starting)
    several._contents = {1: SimpleNamespace(key=1), 2: SimpleNamespace(key=2)}
    several._begin()
    several.close()
    assert said == [("forget", 1), ("load", 3), ("kill", 0)]


def test_what_a_process_tells_of_an_image_arrives() -> None:
    told = pickle.loads(pickle.dumps(OverloadedError("the server has too many files open", 3)))
    assert (str(told), told.headers) == (
        "the server has too many files open; try again in 3 s",
        {"retry-after": "3"},
    )


def test_a_model_that_is_loaded_again_is_so_in_all_processes(
    apart: Running, changed: Callable[..., Path], tiny: Path, photos: Path
) -> None:
    body = (photos / "coffee.png").read_bytes()
    other = changed(manifest=replace(read_artifact(tiny).manifest, labels=tuple("vwxyz")).to_json())
    os.replace(other, apart.registry.get().classifier.artifact.path)
    assert apart.post("/v2/repository/models/tiny/load").status_code == 200
    answers = [answer.json() for answer in post_many(apart, body)]
    assert answers == [answers[0]] * 24
    assert {row["label"] for row in answers[0]["predictions"]} == set("vwxyz")
    wait_until(lambda: all(len(hand.known) == 1 for hand in apart.service.hands._live))  # the old one is forgotten
    assert apart.post("/v2/repository/models/tiny/unload").status_code == 200
    assert {answer.status_code for answer in post_many(apart, body)} == {404}
    wait_until(lambda: not any(hand.known for hand in apart.service.hands._live))


def test_where_no_process_can_start_threads_do_the_work(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, server_log: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(hands, "Hand", refuse)
    with running(tiny, processes=1) as server:
        answers = post_many(server, (photos / "coffee.png").read_bytes(), 4)
    assert {answer.status_code for answer in answers} == {200}
    assert "a process for images could not start (no more processes); threads of the server do its work" in (
        server_log.text
    )


def test_files_that_changed_since_they_were_loaded_stay_with_the_threads(apart: Running) -> None:
    model = apart.registry.get()
    model.apart = None
    model.classifier.artifact.path.write_bytes(b"another")
    apart.service.hands.take(model)
    assert model.apart is None


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_the_program_has_them_by_default_says_so_and_none_outlives_it(
    program: Callable[..., Program], tiny: Path, photos: Path, how: int
) -> None:
    started = program(tiny, "--processes", 2, "--drain-delay-s", 0)
    told = [json.loads(line)["message"] for line in started.log.splitlines()]
    assert "model tiny: 5 classes, cpu, 2 processes for images" in told
    pid = started.process.pid
    children = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError):  # a thread that has just ended
            children += map(int, (task / "children").read_text().split())
    assert len(set(children)) >= 2
    assert started.post("/classify", (photos / "coffee.png").read_bytes()).status_code == 200
    assert started.stop(how) == (0 if how == signal.SIGTERM else -how)
    wait_until(lambda: not any(map(is_running, children)))


@pytest.mark.parametrize(
    ("given", "processes"),
    [
        ({"max_cpus": 4, "processes": 3}, 3),
        ({"max_cpus": 1}, 0),
        ({"opening": ModelOptions(threads=1)}, 0),
        ({"max_batch_size": 8}, 0),
        ({"batch_delay_ms": 1}, 0),
        ({"max_batch_size": 1}, None),
        ({}, None),
    ],
)
def test_how_many_there_are(given: dict, processes: int | None) -> None:
    """By default one for each processor of several, unless threads or batches are asked for."""
    several = available_cpus() if available_cpus() > 1 else 0
    assert Settings(models=(Path("m.onnx"),), **given).image_processes == (several if processes is None else processes)


@pytest.mark.parametrize(
    ("one_ms", "four_ms", "together"), [(2.0, 7.0, 4), (2.0, 7.9, 1), (30.0, 60.0, 1)], ids=["gains", "same", "long"]
)
def test_images_run_together_only_where_that_pays(
    served: Running, monkeypatch: pytest.MonkeyPatch, one_ms: float, four_ms: float, together: int
) -> None:
    monkeypatch.setattr(hands, "_quickest", lambda _, batch: {1: one_ms, 4: four_ms}[len(batch)] / 1000)
    assert hands.max_batch_size(served.registry.get()) == together


def test_a_large_model_is_left_to_threads(served: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    model = served.registry.get()
    assert hands.suits(model)
    monkeypatch.setattr(hands, "LARGEST", model.classifier.artifact.size - 1)
    assert not hands.suits(model)
