"""Pretrained weights through torchvision's own loading code, from a real HTTP server that serves a checkpoint under
torchvision's name.
"""

import hashlib
import http.server
import io
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torchvision
from torchvision.models import SqueezeNet1_1_Weights

from torchless_export.errors import WeightsError
from torchless_export.sources import catalog
from torchless_export.sources import load as sources
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest
from torchless_export.sources.weights import MIRROR_VARIABLE, cache_path

REQUEST = ModelRequest(model="squeezenet1_1")


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    torch.manual_seed(0)
    buffer = io.BytesIO()
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), buffer)
    return buffer.getvalue()


@pytest.fixture
def file_name(checkpoint: bytes, monkeypatch: pytest.MonkeyPatch) -> str:
    """torchvision's weights, with the URL ending in the hash of the checkpoint that we can serve: the real file is not
    available here.
    """
    name = f"squeezenet1_1-{hashlib.sha256(checkpoint).hexdigest()[:8]}.pth"
    member = SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(member, "_value_", replace(member.value, url=f"http://127.0.0.1:9/models/{name}"))
    return name


@pytest.fixture
def folder(tmp_path: Path, checkpoint: bytes, file_name: str) -> Path:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / file_name).write_bytes(checkpoint)
    return tmp_path / "mirror"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class CutOff(Quiet):
    """Promises the whole file and sends half of it."""

    def copyfile(self, source, outputfile) -> None:
        data = source.read()
        outputfile.write(data[: len(data) // 2])
        self.close_connection = True


@pytest.fixture
def serve(folder: Path) -> Iterator:
    servers = []

    def start(handler: type[Quiet] = Quiet) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def cached() -> list[str]:
    folder = cache_path(SqueezeNet1_1_Weights.IMAGENET1K_V1).parent
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def assert_loaded(checkpoint: bytes) -> None:
    loaded = load(REQUEST)
    wanted = torch.load(io.BytesIO(checkpoint), weights_only=True)
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.module.state_dict().items())
    assert loaded.info.sha256 == hashlib.sha256(checkpoint).hexdigest()
    assert loaded.info.weights == "IMAGENET1K_V1"
    assert loaded.info.num_params == 1_235_496
    assert loaded.labels[963] == "pizza"
    assert loaded.published.acc1 == 58.178


def test_from_an_http_mirror_into_the_cache(serve, checkpoint: bytes, file_name: str, monkeypatch, capfd) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, serve())
    assert_loaded(checkpoint)
    assert cached() == [file_name]
    monkeypatch.delenv(MIRROR_VARIABLE)
    assert_loaded(checkpoint)  # now from the cache
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")  # progress is for terminals


def test_progress_on_a_terminal(folder: Path, monkeypatch, capfd) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setenv(MIRROR_VARIABLE, str(folder))
    load(REQUEST)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert "100%" in captured.err


def test_from_a_folder(folder: Path, checkpoint: bytes, monkeypatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, str(folder))
    assert_loaded(checkpoint)


def test_from_its_own_address(serve, checkpoint: bytes, file_name: str, monkeypatch) -> None:
    member = SqueezeNet1_1_Weights.IMAGENET1K_V1
    monkeypatch.setattr(member, "_value_", replace(member.value, url=serve() + file_name))
    assert_loaded(checkpoint)


def assert_refused(cause: str, file_name: str) -> None:
    with pytest.raises(WeightsError) as caught:
        load(REQUEST)
    message = str(caught.value)
    assert caught.value.exit_code == 6
    assert cause in message
    for way in (
        f"http://127.0.0.1:9/models/{file_name}",
        str(cache_path(SqueezeNet1_1_Weights.IMAGENET1K_V1)),
        MIRROR_VARIABLE,
    ):
        assert way in message
    assert "`checkpoint` FILE" in message
    assert "`weights` none" in message
    assert cached() == []


def test_nothing_to_be_had(file_name: str) -> None:
    assert_refused("Connection refused", file_name)


def test_the_mirror_does_not_have_it(serve, folder: Path, file_name: str, monkeypatch) -> None:
    (folder / file_name).unlink()
    monkeypatch.setenv(MIRROR_VARIABLE, serve())
    assert_refused("404", file_name)


def test_a_download_with_the_wrong_hash(serve, folder: Path, file_name: str, monkeypatch) -> None:
    (folder / file_name).write_bytes(b"something else")
    monkeypatch.setenv(MIRROR_VARIABLE, serve())
    assert_refused("invalid hash value", file_name)


def test_a_download_cut_off_half_way(serve, file_name: str, monkeypatch) -> None:
    monkeypatch.setenv(MIRROR_VARIABLE, serve(CutOff))
    assert_refused("invalid hash value", file_name)


def test_a_cached_file_that_is_damaged(checkpoint: bytes, file_name: str) -> None:
    path = cache_path(SqueezeNet1_1_Weights.IMAGENET1K_V1)
    path.parent.mkdir(parents=True)
    path.write_bytes(checkpoint[:1000])
    with pytest.raises(WeightsError, match=r"is damaged: its SHA-256 begins with"):
        load(REQUEST)
    assert path.exists()


def test_code_in_a_cached_file_is_never_run(file_name: str, tmp_path: Path, monkeypatch) -> None:
    path, mark = cache_path(SqueezeNet1_1_Weights.IMAGENET1K_V1), tmp_path / "ran"
    path.parent.mkdir(parents=True)
    torch.save({"features.0.weight": Bomb(mark)}, path)
    monkeypatch.setattr("torchless_export.sources.weights._check_hash", lambda path: "")
    with pytest.raises(WeightsError, match="delete it if it is damaged"):
        load(REQUEST)
    assert not mark.exists()


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_every_torchvision_file_name_carries_its_hash() -> None:
    from torchless_export.sources.weights import _HASH

    for name in catalog.model_names():
        for member in torchvision.models.get_model_weights(name):
            assert _HASH.search(cache_path(member).name), member


def test_weights_that_do_not_exist() -> None:
    from torchless_export.errors import UnknownModelError

    with pytest.raises(
        UnknownModelError, match=r"squeezenet1_1 has no weights 'IMAGENET1K_V9'; it has IMAGENET1K_V1, DEFAULT"
    ):
        load(replace(REQUEST, weights="IMAGENET1K_V9"))
    with pytest.raises(UnknownModelError, match=r"no classifier 'resnet5'; did you mean resnet50"):
        load(ModelRequest(model="resnet5"))
    with pytest.raises(UnknownModelError, match=r"no classifier 'xyzzy'; torchless models lists them"):
        load(ModelRequest(model="xyzzy"))


def test_auxiliary_heads_are_dropped_from_pretrained_models(monkeypatch) -> None:
    monkeypatch.setattr(
        sources.weights,
        "pretrained",
        lambda name, member: (torchvision.models.googlenet(weights=None, init_weights=False), ""),
    )
    module = load(ModelRequest(model="googlenet")).module
    assert (module.aux1, module.aux2, module.aux_logits) == (None, None, False)
