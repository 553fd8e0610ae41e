"""serve --poll-s: what changes on disk is served once two looks have seen the same and it has proved itself."""

import gc
import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.runtime.serve.conftest import Program, Running, Valve, running
from tests.runtime.serve.test_self_test import spoilt
from tests.runtime.serve.test_versions import labels_of, relabelled
from tests.runtime.serve.test_workers import workers_of
from tests.server_process import wait_until

from torchless import Classifier
from torchless.engine.options import ModelOptions
from torchless.model.artifact import read_artifact
from torchless.model.signing import make_key, sign
from torchless.serve import models, repository
from torchless.serve.models import ServedModel
from torchless.serve.settings import Settings

NEVER_S = 1e6  # tests look themselves


@pytest.fixture
def polled(tiny: Path, tmp_path: Path) -> Iterator[Running]:
    """Version 1 of `net`, whose labels are a to e, and `tiny`, in a folder."""
    relabelled(tiny, tmp_path / "models/net/1/model.onnx", "abcde")
    shutil.copy(tiny, tmp_path / "models/tiny.onnx")
    with running(tmp_path / "models", poll_s=NEVER_S) as server:
        yield server


def look(server: Running, times: int = 2) -> None:
    for _ in range(times):
        server.service.poller.look()


def names(server: Running) -> list[str]:
    return [str(model.key) for model in server.registry.all()]


def test_a_file_that_changes(polled: Running, tiny: Path, tmp_path: Path, images: list[bytes]) -> None:
    """Two looks have to see it; what nothing has happened to is not loaded again, and what was replaced is let go."""
    untouched, replaced = polled.registry.get("tiny"), weakref.ref(polled.registry.get("net"))
    other = relabelled(tiny, tmp_path / "other.onnx", "vwxyz")
    look(polled)
    os.replace(other, tmp_path / "models/net/1/model.onnx")
    look(polled, 1)
    assert labels_of(polled, "net", images[0]) == set("abcde")
    look(polled, 1)
    assert labels_of(polled, "net", images[0]) == set("vwxyz")
    assert polled.registry.get("tiny") is untouched
    wait_until(lambda: (gc.collect(), replaced() is None)[1])  # a thread that ran it may be about to forget it


def test_versions_come_and_go(
    polled: Running, tiny: Path, tmp_path: Path, images: list[bytes], server_log: pytest.LogCaptureFixture
) -> None:
    """The new one takes over at once; without it, the old one is served again; files come and go as well."""
    net = tmp_path / "models/net"
    relabelled(tiny, net / "2/model.onnx", "vwxyz")
    shutil.copy(tiny, tmp_path / "models/later.onnx")
    look(polled)
    assert names(polled) == ["tiny/1", "net/2", "later/1"]
    assert labels_of(polled, "net", images[0]) == set("vwxyz")
    shutil.rmtree(net / "2")
    (tmp_path / "models/tiny.onnx").unlink()
    look(polled, 1)
    assert names(polled) == ["tiny/1", "net/2", "later/1"]
    look(polled, 1)
    assert names(polled) == ["net/1", "later/1"]
    assert labels_of(polled, "net", images[0]) == set("abcde")
    said = [text for text in server_log.messages if text.endswith("is unloaded")]
    assert said == [f"model {name} is unloaded" for name in ("net/1", "net/2", "tiny")]
    polled.service.stop()
    relabelled(tiny, net / "3/model.onnx", "vwxyz")
    look(polled)
    assert names(polled) == ["net/1", "later/1"]


def test_all_versions(tiny: Path, tmp_path: Path) -> None:
    """One that proves itself comes, one that does not stays away, and one that is gone goes once all others serve."""
    net = tmp_path / "net"
    for version in (1, 2):
        relabelled(tiny, net / f"{version}/model.onnx", "abcde")
    with running(net, versions="all", poll_s=NEVER_S) as server:
        shutil.rmtree(net / "1")
        relabelled(tiny, net / "3/model.onnx", "abcde")
        (net / "4").mkdir()
        (net / "4/model.onnx").write_bytes(b"half a file")
        look(server)
        assert names(server) == ["net/3", "net/2", "net/1"]
        shutil.rmtree(net / "4")
        look(server)
        assert names(server) == ["net/3", "net/2"]


@pytest.mark.parametrize("change", ["half", "spoilt", "unproved", "gone"])
def test_what_does_not_prove_itself_leaves_the_old_one_serving(
    tiny: Path,
    tmp_path: Path,
    change: str,
    changed: Callable[..., Path],
    images: list[bytes],
    server_log: pytest.LogCaptureFixture,
) -> None:
    """It is said once, in the log, the metrics and the index, which name no path; and no longer once all is well."""
    path = Path(shutil.copy(tiny, tmp_path / "net.onnx"))
    reason = {
        "half": "truncated", "spoilt": "does not give PyTorch's answers here", "unproved": "carries no evidence",
        "gone": "there is no file",
    }[change]  # fmt: skip
    with running(path, poll_s=NEVER_S) as server:
        wanted = server.post("/classify", content=images[0]).json()
        path.unlink()
        if change == "half":
            path.write_bytes(tiny.read_bytes()[:-1000])
        elif change == "spoilt":
            spoilt(tiny, path)
        elif change == "unproved":
            shutil.copy(changed(manifest=read_artifact(tiny).manifest.to_json()), path)
        look(server, 4)
        assert server.post("/classify", content=images[0]).json() == wanted
        (said,) = (text for text in server_log.messages if "was not loaded" in text)
        assert said.startswith("model net/1 was not loaded, and the one before serves on until its file changes: ")
        assert server.metric('torchless_model_refused{model="net",version="1"}') == 1
        changed_line = 'torchless_model_file_changed{model="net",version="1"}'
        wait_until(lambda: server.metric(changed_line) == 1)  # it waits for the disk no longer than a moment
        row = server.post("/v2/repository/index").json()[0]
        assert (row["state"], str(tmp_path) in row["reason"]) == ("READY", False)
        assert reason in row["reason"]
        shutil.copy(tiny, path)
        look(server)
        assert server.metric('torchless_model_refused{model="net",version="1"}') == 0
        wait_until(lambda: server.metric(changed_line) == 0)
        assert server.post("/v2/repository/index").json()[0]["reason"] == ""


def test_a_file_that_grows_is_left_alone(
    polled: Running, tiny: Path, tmp_path: Path, server_log: pytest.LogCaptureFixture
) -> None:
    """Whatever part of it is there: no look tries to load it, and none says anything, until it is complete."""
    content = tiny.read_bytes()
    (tmp_path / "models/net/2").mkdir()
    look(polled)
    for size in range(0, len(content), len(content) // 5):
        (tmp_path / "models/net/2/model.onnx").write_bytes(content[:size])
        look(polled, 1)
    assert {*server_log.messages} <= {"request"}  # an earlier test's
    (tmp_path / "models/net/2/model.onnx").write_bytes(content)
    look(polled)
    assert names(polled) == ["tiny/1", "net/2"]


def test_a_data_file_that_comes_later(polled: Running, pair: Path, tmp_path: Path) -> None:
    """The model file itself has not changed since it was refused."""
    home = tmp_path / "models/net/2"
    home.mkdir()
    shutil.copy(pair, home)
    look(polled)
    assert names(polled) == ["tiny/1", "net/1"]
    assert "tiny.onnx.data" in polled.registry.refused["net", 2]
    shutil.copy(f"{pair}.data", home)
    look(polled)
    assert names(polled) == ["tiny/1", "net/2"]


def test_a_version_is_served_once_it_is_signed(tiny: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    opening = ModelOptions(require_signature=(tmp_path / "key.pub").read_bytes())
    sign(relabelled(tiny, tmp_path / "net/1/model.onnx", "abcde"), tmp_path / "key")
    with running(tmp_path / "net", opening=opening, poll_s=NEVER_S) as server:
        later = relabelled(tiny, tmp_path / "net/2/model.onnx", "vwxyz")
        look(server)
        assert names(server) == ["net/1"]
        assert server.registry.refused["net", 2].startswith("model.onnx is not signed")
        sign(later, tmp_path / "key")
        look(server)
        assert names(server) == ["net/2"]


def test_a_file_that_is_replaced_while_it_is_loaded(
    polled: Running, tiny: Path, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model is opened twice, for lone images and for many: both from the same file."""
    path, proved = tmp_path / "models/net/1/model.onnx", models._proved
    relabelled(tiny, path, "fghij")

    def replace_first(classifier: Classifier) -> str:
        monkeypatch.undo()
        os.replace(relabelled(tiny, tmp_path / "other.onnx", "vwxyz"), path)
        return proved(classifier)

    monkeypatch.setattr(models, "_proved", replace_first)
    look(polled)
    assert labels_of(polled, "net", images[0]) == set("abcde")
    assert "changed while it was being loaded" in polled.post("/v2/repository/index").json()[0]["reason"]
    look(polled)
    assert labels_of(polled, "net", images[0]) == set("vwxyz")


def test_folders_in_disorder_and_folders_that_are_gone(
    polled: Running, tiny: Path, tmp_path: Path, server_log: pytest.LogCaptureFixture
) -> None:
    """What is loaded serves on, whichever it is; what has no problem is looked after meanwhile."""
    shutil.copy(tiny, tmp_path / "models/net/1/other.onnx")
    (tmp_path / "models/tiny.onnx").unlink()
    shutil.copy(tiny, tmp_path / "models/later.onnx")
    look(polled, 1)
    assert {*server_log.messages} <= {"request"}  # an earlier test's
    look(polled, 3)
    assert names(polled) == ["tiny/1", "net/1", "later/1"]
    (said,) = (record.getMessage() for record in server_log.records if record.levelname == "ERROR")
    assert said.endswith(
        "net/1 has model.onnx and other.onnx; a version is one .onnx file; what is loaded serves on, and nothing is "
        "unloaded"
    )
    (tmp_path / "models").rename(tmp_path / "elsewhere")
    look(polled, 4)
    assert names(polled) == ["tiny/1", "net/1", "later/1"]
    (tmp_path / "models").mkdir()
    look(polled, 4)
    assert names(polled) == ["tiny/1", "net/1", "later/1"]
    assert sum(record.levelname == "ERROR" for record in server_log.records) == 3


def test_a_folder_that_cannot_be_read(polled: Running, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its model is not taken for gone, nor are the others held up."""
    visible = repository._visible

    def refuse(folder: Path) -> list[str]:
        if folder.name == "net":
            raise PermissionError(13, "Permission denied", str(folder))
        return visible(folder)

    monkeypatch.setattr(repository, "_visible", refuse)
    (tmp_path / "models/tiny.onnx").rename(tmp_path / "models/later.onnx")
    look(polled, 3)
    assert names(polled) == ["net/1", "later/1"]
    assert f"{tmp_path / 'models/net'} is passed over: it cannot be read" in polled.registry.look().passed_over[0]


def test_requests_are_answered_by_the_version_that_they_started_with(
    polled: Running, tiny: Path, tmp_path: Path, valve: Valve, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    relabelled(tiny, tmp_path / "models/net/2/model.onnx", "vwxyz")
    monkeypatch.setattr(ServedModel, "warm_up", lambda _: None)  # the valve holds back every run
    valve.close()
    with ThreadPoolExecutor(1) as pool:
        early = pool.submit(labels_of, polled, "net", images[0])
        wait_until(lambda: valve.entered)
        look(polled)
        assert names(polled) == ["tiny/1", "net/2"]
        valve.open()
        assert early.result() == set("abcde")
        assert labels_of(polled, "net", images[0]) == set("vwxyz")


def test_it_looks_by_itself_and_an_error_does_not_end_that(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_log: pytest.LogCaptureFixture
) -> None:
    shutil.copy(tiny, tmp_path)
    with running(tmp_path, poll_s=0.1) as server:
        monkeypatch.setattr(server.registry, "look", lambda: 1 / 0)
        wait_until(lambda: "unforeseen error while looking for changed models" in server_log.text)
        monkeypatch.undo()
        shutil.copy(tiny, tmp_path / "later.onnx")
        wait_until(lambda: names(server) == ["tiny/1", "later/1"])


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds processes in /proc")
def test_all_workers_serve_the_same_also_those_that_are_started_later(
    program: Callable[..., Program], tiny: Path, tmp_path: Path, images: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their parent proves a new file, and they load its copy. The copies of what nobody serves any more are removed."""
    (temp := tmp_path / "temp").mkdir()
    monkeypatch.setenv("TMPDIR", str(temp))
    relabelled(tiny, tmp_path / "net/1/model.onnx", "abcde")
    started = program(tmp_path / "net", "--workers", 2, "--poll-s", 0.1)
    first = workers_of(started)

    def answers() -> set[str]:
        """The best labels, asked for on connections of their own: each may come to another worker."""
        return {started.post("/classify", images[0]).json()["predictions"][0]["label"] for _ in range(8)}

    assert answers() <= set("abcde")
    relabelled(tiny, tmp_path / "new/2/model.onnx", "vwxyz")
    (tmp_path / "new/2").rename(tmp_path / "net/2")  # a half file that two looks have seen would be refused
    wait_until(lambda: answers() <= set("vwxyz"))
    wait_until(lambda: len(list(temp.glob("torchless-serve-*/models/*"))) == 1)
    os.kill(first[0], 9)
    wait_until(lambda: first[0] not in workers_of(started) and len(workers_of(started)) == 2)
    wait_until(started.is_ready)
    assert answers() <= set("vwxyz")
    (tmp_path / "new/3").mkdir()
    (tmp_path / "new/3/model.onnx").write_bytes(b"nonsense")
    (tmp_path / "new/3").rename(tmp_path / "net/3")
    refused = 'torchless_model_refused{model="net",version="3"} 1'
    wait_until(lambda: refused in started.get("/metrics").text)
    assert answers() <= set("vwxyz")
    assert started.stop() == 0
    assert started.log.count("was not loaded") == 1


def test_the_interval(tiny: Path) -> None:
    with pytest.raises(ValueError, match="`poll_s` must be at least 0.1, got 0.01"):
        Settings(models=(tiny,), poll_s=0.01)
