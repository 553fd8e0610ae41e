"""Whether a model file is what was proved: sealed when it was exported, unchanged since, and with the gate's verdict
inside.

The seal is the SHA-256 of everything before it: graph, weights, manifest and layers. It is one more entry of the file's
`metadata_props`, and the last bytes of the file: protobuf lets a message's field be appended to it. (Weights in a data
file beside the model have their own hash in the manifest.) It shows changes made by accident; it is not a signature.
"""

import os
from enum import StrEnum
from pathlib import Path

from torchless.errors import ArtifactNotFoundError
from torchless.files import reading
from torchless.model.onnxfile import OnnxFile

SEAL_KEY = "torchless.seal"

_DIGEST_CHARACTERS = 64
_CHUNK_BYTES = 1 << 20


class Seal(StrEnum):
    """What a file's seal says about it."""

    INTACT = "intact"
    CHANGED = "changed"
    MISSING = "missing"


def seal_entry(digest: str) -> bytes:
    """The bytes to append to a serialised ModelProto whose SHA-256 is `digest`, 64 hexadecimal characters.

    That is field 14 (metadata_props) with a StringStringEntryProto; every length in it is below 128, hence one byte.
    """
    key, value = SEAL_KEY.encode(), digest.encode()
    entry = bytes([0x0A, len(key)]) + key + bytes([0x12, len(value)]) + value
    return bytes([0x72, len(entry)]) + entry


_ENTRY_BYTES = len(seal_entry("0" * _DIGEST_CHARACTERS))


def check_seal(file: OnnxFile) -> Seal:
    """Reads the whole file, about a second per GB. Raises ArtifactNotFoundError if it cannot be read."""
    if SEAL_KEY not in file.metadata:
        return Seal.MISSING
    if file.held is not None:
        import hashlib

        content = file.held.content
        digest = hashlib.sha256(memoryview(content)[:-_ENTRY_BYTES]).hexdigest()
        return Seal.INTACT if seal_entry(digest) == content[-_ENTRY_BYTES:] else Seal.CHANGED
    with reading(file.path, ArtifactNotFoundError):
        digest, entry = _digest_and_entry(file.path)
    return Seal.INTACT if seal_entry(digest) == entry else Seal.CHANGED


def _digest_and_entry(path: Path) -> tuple[str, bytes]:
    """The SHA-256 of all but the last bytes, which a seal's entry would take; and these."""
    import hashlib  # OpenSSL: milliseconds that a start spends in the background, where the seal is checked

    digest, buffer = hashlib.sha256(), bytearray(_CHUNK_BYTES)
    with path.open("rb", buffering=0) as stream:
        left = os.fstat(stream.fileno()).st_size - _ENTRY_BYTES
        while left > 0 and (count := stream.readinto(memoryview(buffer)[: min(left, _CHUNK_BYTES)])):
            digest.update(memoryview(buffer)[:count])
            left -= count
        return digest.hexdigest(), stream.read(_ENTRY_BYTES)
