"""Who may use the server."""

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.runtime.serve.conftest import Running, running

from torchless.engine.options import ModelOptions
from torchless.errors import SignatureError, UsageError
from torchless.model.seal import seal_entry
from torchless.model.signing import make_key, sign
from torchless.serve.settings import Settings, read_keys

KEYS = ("0123456789abcdef", "fedcba9876543210")
GUARDED = ("/models", "/metrics", "/v2", "/v2/models/tiny", "/nowhere")
OPEN = ("/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready", "/page/page.js")


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def test_with_keys_all_but_health_and_page_is_guarded(tiny: Path) -> None:
    with running(tiny, api_keys=KEYS) as server:
        get = server.client.get
        for path in GUARDED:
            for headers in (
                {},
                bearer("0123456789abcdeX"),
                {"authorization": KEYS[0]},
                {"authorization": f"Basic {KEYS[0]}"},
                bearer("ä"),
            ):
                answer = get(path, headers={name: value.encode() for name, value in headers.items()})
                assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
                assert answer.json() == {"error": "an API key is required: Authorization: Bearer KEY"}
            assert all(get(path, headers=bearer(key)).status_code in (200, 404) for key in KEYS)
        assert server.post("/classify", content=b"x").status_code == 401
        assert server.post("/classify", content=b"x", headers=bearer(KEYS[1])).status_code == 400
        assert {path: get(path).status_code for path in OPEN} == dict.fromkeys(OPEN, 200)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("", "holds no key"),
        ("short\n", "at least 16 characters"),
        ("0123456789 abcdef", "no space"),
        ("ä" * 20, "ASCII"),
    ],
)
def test_key_files_that_are_none(tmp_path: Path, content: str, says: str) -> None:
    (tmp_path / "keys").write_text(content)
    with pytest.raises(UsageError, match=says):
        read_keys(tmp_path / "keys")
    with pytest.raises(UsageError, match="No such file"):
        read_keys(tmp_path / "none")


def test_a_key_file_has_a_key_a_line(tmp_path: Path) -> None:
    (tmp_path / "keys").write_text("\n".join(["", *KEYS, ""]))
    assert read_keys(tmp_path / "keys") == KEYS


def test_pages_of_other_origins_are_refused(served: Running) -> None:
    for origin in ("https://evil.example", "null", f"http://{served.address}.evil.example"):
        answer = served.post("/classify", content=b"x", headers={"origin": origin})
        assert answer.status_code == 403
        assert "access-control-allow-origin" not in answer.headers
    assert served.post("/classify", content=b"x", headers={"origin": f"http://{served.address}"}).status_code == 400
    assert (
        served.client.options(
            "/classify", headers={"origin": "https://evil.example", "access-control-request-method": "POST"}
        ).status_code
        == 403
    )


def test_an_origin_can_be_let_in(tiny: Path) -> None:
    friend = {"origin": "https://friend.example"}
    with running(tiny, cors_origins=("https://friend.example",), api_keys=KEYS) as server:
        asked = server.client.options("/classify", headers=friend | {"access-control-request-method": "POST"})
        assert (asked.status_code, asked.headers["access-control-allow-origin"]) == (200, "https://friend.example")
        strange = friend | {"access-control-request-method": "POST", "access-control-request-headers": "x-strange"}
        refused = server.client.options("/classify", headers=strange)
        assert (refused.status_code, refused.json()) == (400, {"error": "Disallowed CORS headers"})
        answer = server.post("/classify", content=b"x", headers=friend | bearer(KEYS[0]))
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (400, "https://friend.example")
        assert (
            server.post(
                "/classify", content=b"x", headers={"origin": "https://evil.example"} | bearer(KEYS[0])
            ).status_code
            == 403
        )


def test_it_listens_to_this_machine_alone_unless_told_otherwise() -> None:
    assert Settings(models=()).host == "127.0.0.1"
    assert not Settings(models=()).allow_model_control


def test_all_may_come_is_said(
    tiny: Path, command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchless.serve import server

    monkeypatch.setattr(server.Server, "run", lambda self, sockets: None)
    for host, warned in (("127.0.0.1", False), ("0.0.0.0", True)):
        code, out, err = command_line("torchless", "serve", tiny, "--host", host, "--port", 0, "--device", "cpu")
        assert (code, out) == (0, "")
        assert ("anyone who can reach 0.0.0.0 may use this server" in err) == warned


def test_with_a_key_only_signed_models_are_served_also_when_they_are_loaded_anew(tiny: Path, tmp_path: Path) -> None:
    model, key = tmp_path / "tiny.onnx", tmp_path / "key"
    model.write_bytes(tiny.read_bytes())
    make_key(key)
    opening = ModelOptions(require_signature=key.with_name("key.pub").read_bytes())
    with pytest.raises(SignatureError, match="is not signed"), running(model, opening=opening):
        pass
    sign(model, key)
    with running(model, opening=opening, allow_model_control=True) as server:
        key.with_name("key.pub").write_text("another key")  # the server has read it
        answer = server.post("/classify", content=photo()).json()
        model.write_bytes(tiny.read_bytes() + seal_entry("0" * 64))
        refused = server.post("/v2/repository/models/tiny/load")
        assert refused.status_code == 400
        assert "was altered after it was signed" in refused.json()["error"]
        assert server.post("/classify", content=photo()).json() == answer
        sign(model, key)
        assert server.post("/v2/repository/models/tiny/load").status_code == 200
        assert [warning for warning in server.registry.get("tiny").warnings if "changed after it was sealed" in warning]


def photo() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 50), (10, 200, 30)).save(file, "PNG")
    return file.getvalue()


def test_the_option_that_requires_a_signature(
    tiny: Path, tmp_path: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    make_key(tmp_path / "key")
    code, out, err = command_line("torchless", "serve", tiny, "--require-signature", tmp_path / "key.pub", "--port", 0)
    assert (code, out) == (3, "")
    assert "tiny.onnx is not signed" in err
    assert command_line("torchless", "serve", tiny, "--require-signature", tmp_path / "key")[0] == 2
