"""What a model may be called, and what is refused."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchless.errors import UsageError
from torchless.hub.cache import cache_folder
from torchless.hub.names import Name, Repository, file_name, is_elsewhere, parse_name
from torchless.hub.streams import _NeverLessSafe

SHA256 = "ab" * 32


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("hf:me/it", Repository("me/it")),
        ("hf:me/it@v1.0", Repository("me/it", "v1.0")),
        ("hf:me/it/onnx/m.onnx", Repository("me/it", file="onnx/m.onnx")),
        ("hf:me/it@v1/m.onnx", Repository("me/it", "v1", "m.onnx")),
        ("https://x.org/a//m.onnx?k=1", "https://x.org/a//m.onnx?k=1"),
        ("s3://bucket/m.onnx", "s3://bucket/m.onnx"),
    ],
)
def test_names(text: str, place: Repository | str) -> None:
    assert is_elsewhere(text)
    assert parse_name(text) == Name(place)
    assert str(parse_name(text)) == text
    assert parse_name(f"{text}#sha256={SHA256.upper()}") == Name(place, SHA256)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("hf:it", "hf:it is no name of a repository: write hf:OWNER/REPO"),
        ("hf:me/../x", "is no name of a repository"),
        ("hf:me/it#md5=1", "what follows # must be sha256= and 64"),
        ("https://x.org/m.onnx#sha256=12", "what follows # must be sha256= and 64"),
    ],
)
def test_wrong_names(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse_name(text)


@pytest.mark.parametrize("model", ["m.onnx", "C:/models/m.onnx", "C:\\m.onnx", "a:b.onnx", Path("hf:me/it"), "./hf:x"])
def test_files_are_no_such_names(model: str | Path) -> None:
    assert not is_elsewhere(model)


@given(st.text())
def test_a_url_never_names_a_file_in_another_folder(text: str) -> None:
    try:
        name = file_name(f"https://x.org/{text}")
    except (UsageError, ValueError):
        return
    assert Path(name).name == name != ""


def test_the_systems_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TORCHLESS_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "torchless"
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_folder() == Path.home() / "Library" / "Caches" / "torchless"
    monkeypatch.setattr("sys.platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "C:/Local")
    assert cache_folder() == Path("C:/Local/torchless/cache")


def test_no_redirection_from_https_to_http() -> None:
    from urllib.error import URLError
    from urllib.request import Request

    with pytest.raises(URLError, match="it leads from https to http://"):
        _NeverLessSafe().redirect_request(Request("https://x.org/m"), None, 302, "", {}, "http://x.org/m")
