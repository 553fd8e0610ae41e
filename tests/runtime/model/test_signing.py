"""Signatures: what they cover, what they refuse, and that what was checked is what is loaded."""

import errno
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import onnx_model

from torchless import Classifier
from torchless.engine import loading, session
from torchless.errors import (
    ArtifactDamagedError,
    ArtifactError,
    ExternalDataError,
    MissingDependencyError,
    SignatureError,
    UsageError,
)
from torchless.model import signing
from torchless.model.artifact import read_artifact
from torchless.model.onnxfile import read_onnx
from torchless.model.seal import Seal
from torchless.model.signing import make_key, read_signed, sign

Run = Callable[..., tuple[int, str, str]]
IMAGE = np.full((40, 50, 3), 77, np.uint8)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def public(key: Path) -> Path:
    return key.with_name("key.pub")


@pytest.fixture
def signed(pair: Path, key: Path) -> Path:
    sign(pair, key)
    return pair


def test_keys_are_written_once_and_for_their_owner(key: Path) -> None:
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    with pytest.raises(UsageError, match="keys are never overwritten"):
        make_key(key)


def test_a_pair_of_keys_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the disk is full once the private key is written."""
    real = os.fdopen

    def second_fails(handle: int, mode: str) -> object:
        file = real(handle, mode)
        if (tmp_path / "key.pub").exists():
            file.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return file

    monkeypatch.setattr(signing.os, "fdopen", second_fails)
    with pytest.raises(UsageError, match="cannot write .*key.pub: No space left on device"):
        make_key(tmp_path / "key")
    assert list(tmp_path.iterdir()) == []


def test_a_signed_model_with_its_data_file(signed: Path, public: Path, tiny: Path) -> None:
    files = json.loads((signed.parent / "tiny.onnx.sig").read_text())["files"]
    assert [file["name"] for file in files] == ["tiny.onnx", "tiny.onnx.data"]
    for key in (public, public.read_bytes()):
        classifier = Classifier(signed, device="cpu", require_signature=key)
        np.testing.assert_array_equal(classifier.logits([IMAGE]), Classifier(tiny, device="cpu").logits([IMAGE]))
    assert classifier.artifact.seal == Seal.INTACT


def alter_model(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\x72\x00")  # one more entry of metadata, an empty one


def alter_data(path: Path) -> None:
    data = path.with_name("tiny.onnx.data")
    data.write_bytes(data.read_bytes()[:-1] + b"!")


def alter_signature(path: Path) -> None:
    file = path.with_name("tiny.onnx.sig")
    file.write_text(file.read_text().replace('"name": "tiny.onnx.data"', '"name": "other.data"'))


def drop_data_from_signature(path: Path) -> None:
    file = path.with_name("tiny.onnx.sig")
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"files": content["files"][:1]}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (alter_model, r"tiny\.onnx was altered after it was signed"),
        (alter_data, r"tiny\.onnx\.data was altered after it was signed"),
        (alter_signature, r"tiny\.onnx\.sig was altered"),
        (drop_data_from_signature, r"tiny\.onnx\.sig was altered"),
        (lambda path: path.with_name("tiny.onnx.sig").unlink(), "is not signed: there is no tiny.onnx.sig beside it"),
        (lambda path: path.with_name("tiny.onnx.sig").write_text("{}"), "is not a signature"),
        (lambda path: path.with_name("tiny.onnx.sig").write_bytes(b"\xff"), "is not a signature"),
    ],
)
def test_what_was_changed_is_refused(signed: Path, public: Path, change: Callable[[Path], object], says: str) -> None:
    change(signed)
    with pytest.raises(SignatureError, match=says):
        Classifier(signed, device="cpu", require_signature=public)


def test_another_name_and_another_key_are_refused(signed: Path, public: Path, tmp_path: Path) -> None:
    shutil.copy(signed, signed.with_name("better.onnx"))
    shutil.copy(signed.with_name("tiny.onnx.sig"), signed.with_name("better.onnx.sig"))
    with pytest.raises(SignatureError, match=r"was made for tiny\.onnx, not for better\.onnx"):
        read_signed(signed.with_name("better.onnx"), public)
    make_key(tmp_path / "other")
    with pytest.raises(SignatureError, match="is signed with another key"):
        read_signed(signed, tmp_path / "other.pub")
    forged = signed.with_name("tiny.onnx.sig")  # the required key's fingerprint over another key's signature
    own = json.loads(forged.read_text())
    sign(signed, tmp_path / "other")
    forged.write_text(json.dumps(json.loads(forged.read_text()) | {"key": own["key"]}))
    with pytest.raises(SignatureError, match="is not valid"):
        read_signed(signed, public)


@settings(max_examples=60)
@given(data=st.data())
def test_any_changed_byte_is_refused(tiny: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Or is none of what is signed: a space in the JSON."""
    folder = tmp_path_factory.mktemp("flip")
    make_key(folder / "key")
    shutil.copy(tiny, folder)
    sign(folder / "tiny.onnx", folder / "key")
    file = folder / data.draw(st.sampled_from(["tiny.onnx", "tiny.onnx.sig"]))
    content = bytearray(file.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    file.write_bytes(content)
    try:
        assert read_signed(folder / "tiny.onnx", folder / "key.pub").held.content == tiny.read_bytes()
    except ArtifactError:
        return
    assert file.suffix == ".sig"


def test_what_was_checked_is_what_is_loaded(signed: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both files are replaced right after the check, and a second session is opened later."""
    wanted = Classifier(signed, device="cpu").logits([IMAGE])

    def checked_then_replaced(*arguments: object) -> object:
        held = read_signed(*arguments)
        signed.write_bytes(b"evil")
        signed.with_name("tiny.onnx.data").write_bytes(b"evil")
        return held

    monkeypatch.setattr(signing, "read_signed", checked_then_replaced)
    classifier = Classifier(signed, device="cpu", require_signature=public)
    np.testing.assert_array_equal(classifier.logits([IMAGE]), wanted)
    again = classifier.run(classifier.preprocess(IMAGE)[None], threads=classifier.threads + 1)
    np.testing.assert_array_equal(again, wanted)
    assert classifier._session_of(classifier.threads + 1) is not classifier._session


def test_a_session_opened_ahead_is_not_taken_for_a_checked_one(signed: Path, public: Path) -> None:
    ahead = session.SessionAhead(read_onnx(signed), threads=1)
    classifier = Classifier.of(read_artifact(signed, require_signature=public), threads=1, ahead=ahead)
    assert classifier._session is not ahead.result()


def test_an_onnx_runtime_that_cannot_load_the_checked_data(
    signed: Path, public: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Old:
        """SessionOptions of ONNX Runtime 1.20."""

    monkeypatch.setattr(loading.import_onnxruntime(), "SessionOptions", Old)
    with pytest.raises(
        MissingDependencyError, match=r"cannot load the checked bytes of tiny\.onnx\.data.*--upgrade onnxruntime"
    ):
        Classifier(signed, device="cpu", require_signature=public)


def test_weights_in_places_that_are_not_looked_at_are_not_signed(changed: Callable[..., Path], key: Path) -> None:
    def hide(model: onnx_model.ModelProto) -> None:
        tensor = onnx_model.TensorProto(
            name="hidden", dims=[4], data_type=1, data_location=onnx_model.TensorProto.EXTERNAL
        )
        tensor.external_data.add(key="location", value="beside.bin")
        model.graph.node.append(onnx_model.node("Constant", [], ["hidden"], value=tensor))

    with pytest.raises(ArtifactDamagedError, match="keeps weights in external files in more places"):
        sign(changed(hide), key)


@pytest.mark.parametrize(
    ("location", "error"),
    [("../tiny.onnx.data", "not a file in its folder"), ("sub/tiny.onnx.data", "is not a file beside it")],
)
def test_weights_in_other_folders_are_not_signed(pair: Path, key: Path, location: str, error: str) -> None:
    model = onnx_model.load(pair)
    onnx_model.move_data(model, location)
    onnx_model.save(model, pair)
    with pytest.raises(ArtifactError, match=error):
        sign(pair, key)


def test_missing_data_is_not_signed(pair: Path, key: Path) -> None:
    pair.with_name("tiny.onnx.data").unlink()
    with pytest.raises(ExternalDataError, match="not beside it"):
        sign(pair, key)


def test_an_encrypted_key(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Path(shutil.copy(tiny, tmp_path))
    monkeypatch.setenv("TORCHLESS_KEY_PASSPHRASE", "correct horse")
    make_key(tmp_path / "key")
    assert b"ENCRYPTED" in (tmp_path / "key").read_bytes()
    sign(model, tmp_path / "key")
    monkeypatch.setenv("TORCHLESS_KEY_PASSPHRASE", "battery staple")
    with pytest.raises(UsageError, match="or has another passphrase"):
        sign(model, tmp_path / "key")
    monkeypatch.delenv("TORCHLESS_KEY_PASSPHRASE")
    with pytest.raises(UsageError, match="is encrypted: put its passphrase into TORCHLESS_KEY_PASSPHRASE"):
        sign(model, tmp_path / "key")


RSA = """-----BEGIN PUBLIC KEY-----
MFwwDQYJKoZIhvcNAQEBBQADSwAwSAJBAKj34GkxFhD90vcNLYLInFEX6Ppy1tPf
9Cnzj4p4WGeKLs1Pt8QuKUpRKfFLfRYC9AIKjbJTWit+CqvjWYzvQwECAwEAAQ==
-----END PUBLIC KEY-----
"""


def test_keys_that_are_none(signed: Path, key: Path, public: Path, tmp_path: Path) -> None:
    for given_key, says in (
        (key, "is a private key; give the public one, KEY.pub"),
        (signed, "is not a public key"),
        (tmp_path / "none", "cannot read the key .*No such file"),
    ):
        with pytest.raises(UsageError, match=says):
            read_signed(signed, given_key)
    with pytest.raises(UsageError, match="is no Ed25519 key"):
        read_signed(signed, RSA.encode())
    with pytest.raises(UsageError, match="is the public key; sign with the private one"):
        sign(signed, public)


def test_without_cryptography(signed: Path, public: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchless\[sign\]'"):
        read_signed(signed, public)


def test_the_commands(pair: Path, tmp_path: Path, photos: Path, command_line: Run) -> None:
    photo, key = photos / "coffee.png", tmp_path / "key"
    assert command_line("torchless", "keygen", key)[:2] == (
        0,
        f"{key}, {key}.pub  {signing.fingerprint(signing.public_key(f'{key}.pub'))}\n",
    )
    code, out, err = command_line("infer", pair, photo, "--require-signature", f"{key}.pub")
    assert (code, out) == (3, "")
    assert err.startswith(f"error: {pair} is not signed")
    assert command_line("torchless", "sign", pair, "--key", key) == (0, f"{pair}.sig\n", "")
    code, out, _ = command_line("torchless", "verify-signature", pair, "--key", f"{key}.pub")
    assert code == 0
    assert out.startswith("tiny.onnx, tiny.onnx.data: signed with ")
    signed_answer = command_line("infer", pair, photo, "--require-signature", f"{key}.pub")
    assert signed_answer == command_line("infer", pair, photo)
    alter_model(pair)
    assert command_line("torchless", "verify-signature", pair, "--key", f"{key}.pub")[0] == 3
