"""Models by name, from a real server that behaves well and badly."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests import onnx_model
from tests.runtime.hub.server import Site, running
from tests.surroundings import PATIENCE_S

from torchless import Classifier, fetch_model
from torchless.errors import (
    ArtifactDamagedError,
    ArtifactNotFoundError,
    ExternalDataError,
    MissingDependencyError,
    UsageError,
)
from torchless.model.signing import make_key, sign


@pytest.fixture
def site() -> Iterator[Site]:
    with running() as site:
        yield site


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCHLESS_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("TORCHLESS_OFFLINE", raising=False)
    return tmp_path / "cache"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def left_of(cache: Path) -> list[str]:
    """The names of the files that lie in the cache."""
    return sorted(path.name for path in cache.rglob("*") if path.is_file() and path.name != "lock")


def test_a_url_is_fetched_once_and_classifies(
    site: Site, tiny: Path, photos: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    url = site.put("/models/tiny.onnx", tiny.read_bytes())
    image = photos / "coffee.png"
    local = command_line("infer", tiny, image, "-d", "cpu")
    first = command_line("infer", url, image, "-d", "cpu")
    again = command_line("infer", url, image, "-d", "cpu")
    assert (first[0], first[1]) == (again[0], again[1]) == (local[0], local[1])
    assert f"fetching {url} (" in first[2]
    assert "fetching" not in again[2]
    assert site.paths == ["/models/tiny.onnx"] * 2 + ["/models/tiny.onnx.sig"] + ["/models/tiny.onnx"]
    assert Classifier(url, device="cpu").labels == Classifier(tiny, device="cpu").labels


def test_data_files_and_the_signature_come_with_it(site: Site, pair: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    sign(pair, tmp_path / "key")
    for file in pair.parent.iterdir():
        site.put(f"/{file.name}", file.read_bytes())
    path = fetch_model(f"{site.address}/tiny.onnx")
    assert {file.name for file in path.parent.iterdir()} == {"tiny.onnx", "tiny.onnx.data", "tiny.onnx.sig"}
    Classifier(path, device="cpu", require_signature=tmp_path / "key.pub")
    site.put("/other/tiny.onnx", pair.read_bytes())
    with pytest.raises(ArtifactNotFoundError, match=r"there is no http.*/other/tiny\.onnx\.data \(404"):
        fetch_model(f"{site.address}/other/tiny.onnx")
    site.put("/other/tiny.onnx.data", b"of another export")
    with pytest.raises(ExternalDataError, match="altered, or from another export"):
        fetch_model(f"{site.address}/other/tiny.onnx")


def test_what_broke_off_goes_on(site: Site, tiny: Path, cache: Path) -> None:
    content = tiny.read_bytes()
    url = site.put("/tiny.onnx", content)
    site.cut = [0, 1000, 0, 500, 0]  # the first is asked for its tag alone
    with pytest.raises(ArtifactNotFoundError, match=f"broke off after 1000 of {len(content)} bytes; what came is kept"):
        fetch_model(url)
    assert not any(name.endswith(".onnx") for name in left_of(cache))
    begun = site.sent
    site.cut = []
    assert fetch_model(url).read_bytes() == content
    assert site.asked[-2][1]["Range"] == "bytes=1000-"
    assert site.sent - begun < 2 * len(content)
    assert left_of(cache) == ["current.json", "tiny.onnx"]


@pytest.mark.parametrize("how", ["another version", "no ranges", "no tag"])
def test_what_cannot_go_on_begins_anew(
    site: Site, tiny: Path, cache: Path, capsys: pytest.CaptureFixture, how: str
) -> None:
    content = tiny.read_bytes()
    url = site.put("/tiny.onnx", b"x" * 5000 if how == "another version" else content, "" if how == "no tag" else '"1"')
    site.cut = [0, 1000, 0]
    with pytest.raises(ArtifactNotFoundError):
        fetch_model(url)
    site.cut, site.has_ranges = [], how != "no ranges"
    site.put("/tiny.onnx", content, "" if how == "no tag" else '"2"' if how == "another version" else '"1"')
    assert fetch_model(url).read_bytes() == fetch_model(url).read_bytes() == content
    assert left_of(cache) == ["current.json", "tiny.onnx"]
    assert ("never says what changed" in capsys.readouterr().err) == (how == "no tag")


def test_a_server_that_lies_about_lengths(site: Site, tiny: Path, cache: Path) -> None:
    url = site.put("/tiny.onnx", tiny.read_bytes())
    site.claims = 5
    with pytest.raises(ArtifactNotFoundError, match="broke off after"):
        fetch_model(url)
    site.claims, url = -5, site.put("/other.onnx", tiny.read_bytes())
    with pytest.raises(ArtifactDamagedError, match=rf"{url}.*truncated|{url} is damaged"):
        fetch_model(url)
    assert not any(name.startswith("tiny") for name in left_of(cache) if not name.endswith((".part", ".tag")))


def test_a_server_that_sends_another_file(site: Site, tiny: Path, cache: Path) -> None:
    page = site.put("/page.onnx", b"<html>Please log in</html>")
    with pytest.raises(ArtifactDamagedError, match=f"{page} is not an ONNX model"):
        fetch_model(page)
    model = onnx_model.load(tiny)
    onnx_model.first_weight(model).raw_data = bytes(len(onnx_model.first_weight(model).raw_data))
    url = site.put("/tiny.onnx", model.SerializeToString())
    with pytest.raises(ArtifactDamagedError, match=f"{url} was changed after it was sealed"):
        fetch_model(url)
    site.put("/tiny.onnx", tiny.read_bytes())
    with pytest.raises(ArtifactDamagedError, match="is another file than wanted: its SHA-256 is"):
        fetch_model(f"{url}#sha256={'0' * 64}")
    assert left_of(cache) == []
    assert fetch_model(f"{url}#sha256={sha256(tiny.read_bytes())}").is_file()


def test_a_changed_model_is_fetched_again(site: Site, tiny: Path, pixels: Path, capsys: pytest.CaptureFixture) -> None:
    url = site.put("/m.onnx", tiny.read_bytes())
    old = fetch_model(url)
    site.put("/m.onnx", pixels.read_bytes(), '"2"')
    new = fetch_model(url)
    assert (old.read_bytes(), new.read_bytes()) == (
        tiny.read_bytes(),
        pixels.read_bytes(),
    )  # who runs the old one still can
    assert f"{url} has changed since" in capsys.readouterr().err
    with pytest.raises(ArtifactDamagedError, match="another file than wanted"):
        fetch_model(f"{url}#sha256={sha256(tiny.read_bytes())}")
    assert f"{url} was fetched with another SHA-256: fetching it again" in capsys.readouterr().err


def test_offline_and_unreachable(
    site: Site,
    tiny: Path,
    photos: Path,
    command_line: Callable[..., tuple[int, str, str]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    url = site.put("/tiny.onnx", tiny.read_bytes())
    code, _, said = command_line("infer", url, photos / "coffee.png", "--offline")
    assert (code, said) == (3, f"error: {url} was never fetched, and --offline forbids to do it now\n")
    path = fetch_model(url)
    before = len(site.asked)
    assert command_line("torchless", "inspect", url, "--offline")[0] == 0
    monkeypatch.setenv("TORCHLESS_OFFLINE", "1")
    assert fetch_model(url) == path
    monkeypatch.delenv("TORCHLESS_OFFLINE")
    assert fetch_model(f"{url}#sha256={sha256(tiny.read_bytes())}") == path
    assert len(site.asked) == before
    site.status["/tiny.onnx"] = 503
    capsys.readouterr()
    assert fetch_model(url) == path
    assert "503 Service Unavailable; what was fetched on 20" in capsys.readouterr().err
    site.status["/tiny.onnx"] = 404
    with pytest.raises(ArtifactNotFoundError, match=rf"there is no {url} \(404"):
        fetch_model(url)
    site.status["/tiny.onnx"] = 403
    with pytest.raises(ArtifactNotFoundError, match="not for everyone"):
        fetch_model(url)
    with pytest.raises(ArtifactNotFoundError, match=r": Connection refused$"):
        fetch_model("http://127.0.0.1:1/x.onnx")


def test_two_at_once_fetch_once(site: Site, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = site.put("/tiny.onnx", tiny.read_bytes())
    site.waits, says_so, said = threading.Event(), threading.Event(), []
    monkeypatch.setattr("torchless.hub.cache.tell", lambda line: (said.append(line), says_so.set()))
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(fetch_model, url) for _ in range(2)]
        says_so.wait(PATIENCE_S)
        site.waits.set()
        assert both[0].result() == both[1].result()
    assert said == [f"{url}: waiting for another process that fetches it"]
    assert site.sent <= 3 * len(tiny.read_bytes())
    assert site.paths.count("/tiny.onnx.sig") == 1


def test_hugging_face(
    site: Site, tiny: Path, pixels: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{site.address}/")
    monkeypatch.setenv("HF_TOKEN", "secret")
    content = tiny.read_bytes()
    site.put_hub(
        "me/one",
        {"README.md": b"", "onnx/model.onnx": content},
        commit="a1",
        hashes={"onnx/model.onnx": sha256(content)},
    )
    path = fetch_model("hf:me/one")
    assert (path.name, path.read_bytes()) == ("model.onnx", content)
    assert all(headers["Authorization"] == "Bearer secret" for _, headers in site.asked)
    assert site.paths == ["/api/models/me/one/revision/main", "/me/one/resolve/a1/onnx/model.onnx"]
    assert fetch_model("hf:me/one") == path
    assert len(site.asked) == 3
    site.put_hub("me/one", {"model.onnx": pixels.read_bytes()}, commit="a2", hashes={"model.onnx": sha256(content)})
    with pytest.raises(ArtifactDamagedError, match="/me/one/resolve/a2/model.onnx is another file than wanted"):
        fetch_model("hf:me/one")
    site.put_hub("me/two", {"a.onnx": content, "b.onnx": pixels.read_bytes()}, commit="b1")
    with pytest.raises(UsageError, match="name one of its models: hf:me/two/a.onnx, hf:me/two/b.onnx"):
        fetch_model("hf:me/two")
    assert fetch_model("hf:me/two/b.onnx").read_bytes() == pixels.read_bytes()
    with pytest.raises(ArtifactNotFoundError, match=r"hf:me/two has no file c\.onnx; its models: a\.onnx, b\.onnx"):
        fetch_model("hf:me/two/c.onnx")
    site.put_hub("me/none", {"README.md": b""}, commit="c1")
    with pytest.raises(UsageError, match=r"hf:me/none has no \.onnx file"):
        fetch_model("hf:me/none")
    site.put("/api/models/me/odd/revision/main", b"[]", "")
    with pytest.raises(ArtifactNotFoundError, match="does not answer as Hugging Face's hub does"):
        fetch_model("hf:me/odd")


def test_a_token_stays_with_the_hub(site: Site, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running() as store:
        monkeypatch.setenv("HF_ENDPOINT", site.address)
        monkeypatch.setenv("HF_TOKEN", "secret")
        site.put_hub("me/one", {"m.onnx": b""}, commit="a1")
        site.moved["/me/one/resolve/a1/m.onnx"] = store.put("/blob", tiny.read_bytes())
        assert fetch_model("hf:me/one").read_bytes() == tiny.read_bytes()
        assert [(path, headers.get("Authorization")) for path, headers in store.asked] == [("/blob", None)]
        assert fetch_model(store.put("/tiny.onnx", tiny.read_bytes())).is_file()
        assert store.asked[-1][1].get("Authorization") is None


def test_another_file_system(
    tiny: Path, command_line: Callable[..., tuple[int, str, str]], capsys: pytest.CaptureFixture
) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe("/models/tiny.onnx", tiny.read_bytes())
    assert fetch_model("memory://models/tiny.onnx").read_bytes() == tiny.read_bytes()
    assert "fetching memory://models/tiny.onnx" in capsys.readouterr().err
    code, _, said = command_line("torchless", "inspect", "memory://models/none.onnx")
    assert (code, said) == (3, "error: there is no memory://models/none.onnx\n")
    code, _, said = command_line("torchless", "inspect", "nonsense://x.onnx")
    assert (code, said) == (3, "error: cannot read nonsense://x.onnx: Protocol not known: nonsense\n")


@pytest.mark.parametrize("error", [OSError(113, "No route to host"), TimeoutError(), RuntimeError("slow down")])
def test_a_network_that_fails_meanwhile(tiny: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """It is not the disk; what came is kept."""
    import fsspec.implementations.memory as memory

    def read(file: object, size: int) -> bytes:
        raise error

    memory.MemoryFileSystem().pipe("/bad/m.onnx", tiny.read_bytes())
    monkeypatch.setattr(memory.MemoryFile, "read", read, raising=False)
    with pytest.raises(ArtifactNotFoundError, match=r"cannot read memory://bad/m.onnx: .*(No route|slow)|nothing came"):
        fetch_model("memory://bad/m.onnx")


def test_a_folder_stands_for_the_model_alone_in_it(
    tiny: Path, pixels: Path, tmp_path: Path, photos: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    folder = tmp_path / "release"
    folder.mkdir()
    (folder / "tiny.onnx").write_bytes(tiny.read_bytes())
    assert command_line("infer", folder, photos / "coffee.png", "-d", "cpu")[0] == 0
    assert Classifier(str(folder), device="cpu").file.path.name == "tiny.onnx"
    (folder / "pixels.onnx").write_bytes(pixels.read_bytes())
    code, _, said = command_line("infer", folder, photos / "coffee.png")
    assert code == 3
    assert f"is a folder, not an ONNX file; name a file in it: {folder / 'pixels.onnx'}, " in said


def test_a_cache_that_cannot_be_written(
    site: Site, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCHLESS_CACHE", str(tmp_path / "file"))
    with pytest.raises(UsageError, match=f"cannot write {tmp_path / 'file'}.*Not a directory"):
        fetch_model(site.put("/tiny.onnx", tiny.read_bytes()))


def test_packed_bodies_are_refused(site: Site, tiny: Path) -> None:
    url = site.put("/tiny.onnx", tiny.read_bytes())
    site.headers["Content-Encoding"] = "gzip"
    with pytest.raises(ArtifactNotFoundError, match="packs the file with gzip"):
        fetch_model(url)


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def refuse(url: str) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", refuse)
    with pytest.raises(MissingDependencyError, match=r"^s3://b/m.onnx needs .*: pip install 'torchless\[s3\]'$"):
        fetch_model("s3://b/m.onnx")
