"""Signatures: that a model file, and the data file beside it, are those that the holder of a key vouched for.

The signature of `MODEL.onnx` is `MODEL.onnx.sig`: JSON with the name, size and SHA-256 of each file and an Ed25519
signature (RFC 8032) of exactly that. Keys are PEM files like OpenSSL's. The names are signed too: a signed model cannot
pass for another one. docs/security.md says what this protects against. Needs the extra `sign`.
"""

import base64
import hashlib
import json
import os
from contextlib import ExitStack
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchless.codec import decode, encode, loads
from torchless.errors import ArtifactDamagedError, ArtifactError, ExternalDataError, SignatureError, UsageError, extra
from torchless.files import atomic_path, open_regular, reading, writing
from torchless.model.external import check_locations
from torchless.model.onnxfile import HeldFiles, OnnxFile, read_onnx
from torchless.records import dataclass

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

SUFFIX = ".sig"
PASSPHRASE = "TORCHLESS_KEY_PASSPHRASE"  # noqa: S105 - the name of a variable

_CONTEXT = b"torchless model signature 1\n"  # a signature of something else with the same key is not valid here
_MAX_SIGNATURE_BYTES = 1 << 20


@dataclass(frozen=True, kw_only=True)
class SignedFile:
    """What is signed about a file: its name without a folder, its size, its SHA-256 in hexadecimal."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Signature:
    """What a signature file holds.

    `files` begins with the model; `key` is the fingerprint of the public key; `signature` is base64.
    """

    schema_version: Literal[1] = 1
    algorithm: Literal["Ed25519"] = "Ed25519"
    key: str
    files: tuple[SignedFile, ...]
    signature: str


def make_key(path: Path) -> str:
    """Writes a new private key to `path`, readable only by its owner, and its public key to `path` + ".pub".

    Returns the fingerprint. With a passphrase in the environment (TORCHLESS_KEY_PASSPHRASE) the private key is
    encrypted. Raises UsageError if one of the files exists.
    """
    serialization = _crypto().serialization
    private: Ed25519PrivateKey = _crypto().ed25519.Ed25519PrivateKey.generate()
    secret = _passphrase()
    encryption = serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption()
    pem = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    public = private.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_both((path, pem, 0o600), (path.with_name(path.name + ".pub"), public, 0o644))
    return fingerprint(private.public_key())


def _write_both(*files: tuple[Path, bytes, int]) -> None:
    """New files with that content and mode: all of them, or none."""
    if taken := next((path for path, *_ in files if os.path.lexists(path)), None):
        raise UsageError(f"cannot write {taken}: it already exists, and keys are never overwritten")
    with ExitStack() as undo:
        for path, content, mode in files:
            with writing(path):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                undo.callback(path.unlink, missing_ok=True)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(content)
        undo.pop_all()


def sign(model: Path, key: Path) -> Path:
    """Writes the signature of `model`, and of all files that hold its weights, beside it; returns its path.

    Raises ArtifactError for the model, UsageError for the key.
    """
    private = _private_key(key)
    content = _content(model)
    names = _checked_names(read_onnx(model, held=HeldFiles(content)))
    files = (_signed(model.name, content), *(_signed(name, _data(model, name)) for name in names))
    signature = base64.b64encode(private.sign(_message(files))).decode()
    path = model.with_name(model.name + SUFFIX)
    if path.exists() and path.samefile(key):
        raise UsageError(f"the key {key} is where the signature goes; give the key another name")
    with atomic_path(path) as temporary:
        text = json.dumps(
            encode(Signature(key=fingerprint(private.public_key()), files=files, signature=signature)), indent=2
        )
        temporary.write_text(text + "\n", encoding="utf-8")
    return path


def read_signed(model: str | PathLike[str], key: str | PathLike[str] | bytes) -> OnnxFile:
    """A model file with its own bytes and those of its data files, each read once and checked against the signature.

    `key` is the public key, a PEM file or its content. What is loaded is what was checked, whatever happens to the
    files meanwhile. Raises SignatureError if they are not signed, signed with another key, altered or renamed;
    UsageError for the key.
    """
    path, public = Path(model), public_key(key)
    signature = _read_signature(path)
    _check_signature(path, signature, public)
    first, *others = signature.files
    if first.name != path.name:
        raise SignatureError(
            f"{path}{SUFFIX} was made for {first.name}, not for {path.name}; give the file its name back, or sign "
            f"it again"
        )
    content = _checked(path, _content(path), first)
    data = {file.name: _checked(path.parent / file.name, _data(path, file.name), file) for file in others}
    file = read_onnx(path, held=HeldFiles(content, data))
    if unsigned := [name for name in _checked_names(file) if name not in data]:
        raise SignatureError(f"{path} keeps weights in {', '.join(unsigned)}, which its signature does not cover")
    return file


def _checked_names(file: OnnxFile) -> tuple[str, ...]:
    """The files that hold weights of the model.

    Raises ArtifactError if some weights are in attributes of nodes or in nested graphs: ONNX Runtime might read those
    from the disk, and not from what was checked.
    """
    check_locations(file)
    if len(file.locations) > sum(weight.location is not None for weight in file.graph.initializers):
        raise ArtifactDamagedError(
            f"{file.path} keeps weights in external files in more places than its list of weights; torchless "
            f"writes no such files"
        )
    return file.data_files


def public_key(key: str | PathLike[str] | bytes) -> "Ed25519PublicKey":
    """An Ed25519 public key from a PEM file, or its content. Raises UsageError."""
    crypto, content, where = _crypto(), read_key(key), "the key" if isinstance(key, bytes) else os.fsdecode(key)
    try:
        found = crypto.serialization.load_pem_public_key(content)
    except (ValueError, crypto.UnsupportedAlgorithm):
        raise UsageError(
            f"{where} is a private key; give the public one, KEY.pub"
            if b"PRIVATE KEY" in content
            else f"{where} is not a public key; make a pair with: torchless keygen KEY, and give KEY.pub"
        ) from None
    if not isinstance(found, crypto.ed25519.Ed25519PublicKey):
        raise UsageError(f"{where} is no Ed25519 key")
    public: Ed25519PublicKey = found
    return public


def read_key(key: str | PathLike[str] | bytes) -> bytes:
    """The content of a key file. Raises UsageError."""
    if isinstance(key, bytes):
        return key
    with reading(f"the key {os.fsdecode(key)}"):
        return Path(key).read_bytes()


def fingerprint(key: "Ed25519PublicKey") -> str:
    """What people tell keys apart by: the SHA-256 of the raw public key, in hexadecimal."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()


def _private_key(path: Path) -> "Ed25519PrivateKey":
    crypto, content = _crypto(), read_key(path)
    try:
        found = crypto.serialization.load_pem_private_key(content, _passphrase())
    except TypeError:
        said = (
            f"is encrypted: put its passphrase into {PASSPHRASE}"
            if _passphrase() is None
            else f"is not encrypted; leave {PASSPHRASE} out"
        )
        raise UsageError(f"{path} {said}") from None
    except (ValueError, crypto.UnsupportedAlgorithm):
        raise UsageError(
            f"{path} is the public key; sign with the private one"
            if b"PUBLIC KEY" in content
            else f"{path} is not a private key, or has another passphrase; make one with: torchless keygen KEY"
        ) from None
    if not isinstance(found, crypto.ed25519.Ed25519PrivateKey):
        raise UsageError(f"{path} is no Ed25519 key")
    private: Ed25519PrivateKey = found
    return private


def _read_signature(model: Path) -> Signature:
    path = model.with_name(model.name + SUFFIX)
    try:
        with open_regular(path) as stream:
            text = stream.read(_MAX_SIGNATURE_BYTES).decode()
        signature: Signature = decode(Signature, loads(text, "the signature"), "signature")
    except FileNotFoundError:
        raise SignatureError(
            f"{model} is not signed: there is no {path.name} beside it; sign it with: torchless sign {model} --key KEY"
        ) from None
    except OSError as error:
        raise SignatureError(f"cannot read {path}: {error.strerror or error}") from None
    except (ArtifactError, UnicodeDecodeError) as error:
        raise SignatureError(f"{path} is not a signature: {error}") from None
    if not signature.files or any(Path(file.name).name != file.name for file in signature.files):
        raise SignatureError(f"{path} is not a signature: it names no files, or files in other folders")
    return signature


def _check_signature(model: Path, signature: Signature, public: "Ed25519PublicKey") -> None:
    own = fingerprint(public)
    if signature.key != own:
        raise SignatureError(
            f"{model} is signed with another key ({signature.key[:16]}…) than the one that is required ({own[:16]}…)"
        )
    try:
        public.verify(base64.b64decode(signature.signature, validate=True), _message(signature.files))
    except (ValueError, _crypto().InvalidSignature):
        raise SignatureError(f"the signature of {model} is not valid: {model.name}{SUFFIX} was altered") from None


def _message(files: tuple[SignedFile, ...]) -> bytes:
    """What is signed: the same bytes for the same files, whatever the layout of the JSON around them."""
    return _CONTEXT + json.dumps(encode(files), sort_keys=True, separators=(",", ":")).encode()


def _signed(name: str, content: bytes) -> SignedFile:
    return SignedFile(name=name, bytes=len(content), sha256=hashlib.sha256(content).hexdigest())


def _checked(path: Path, content: bytes, signed: SignedFile) -> bytes:
    if _signed(signed.name, content) != signed:
        raise SignatureError(f"{path} was altered after it was signed; get it again from its signer")
    return content


def _content(model: Path) -> bytes:
    with reading(model, SignatureError):
        if not model.is_file():
            read_onnx(model)  # its errors are clearer
        return model.read_bytes()


def _data(model: Path, name: str) -> bytes:
    try:
        return model.with_name(name).read_bytes()
    except ValueError:
        raise SignatureError(
            f"{model} keeps weights in {name!r}, which is not a file beside it; such a file cannot be signed"
        ) from None
    except OSError:
        raise ExternalDataError.missing(model, name) from None


def _passphrase() -> bytes | None:
    return os.environ[PASSPHRASE].encode() if os.environ.get(PASSPHRASE) else None


class _crypto:  # noqa: N801 - it stands for a module
    """The parts of the package cryptography that are used, imported when they are needed."""

    def __init__(self) -> None:
        with extra("sign", "a signature"):
            from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
            from cryptography.hazmat.primitives import serialization
            from cryptography.hazmat.primitives.asymmetric import ed25519
        self.InvalidSignature, self.UnsupportedAlgorithm = InvalidSignature, UnsupportedAlgorithm
        self.serialization, self.ed25519 = serialization, ed25519
