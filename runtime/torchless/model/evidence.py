"""The evidence inside an artifact: a few test images and PyTorch's answers to them, by which it can be proved anywhere
(docs/verify.md).

It is JSON, compressed by zlib and written in base64, under the key `torchless.evidence` of the file's `metadata_props`.
That is an entry of its own because every start parses the manifest, and only a proof needs this. Nothing in it is
trusted: sizes are bounded before anything is unpacked, and every error names the field.
"""

import base64
import binascii
import hashlib
import json
import math
import re
import zlib
from dataclasses import replace
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from torchless.codec import decode, encode, loads
from torchless.errors import EvidenceMissingError, ManifestError, ManifestVersionError
from torchless.model.artifact import Artifact
from torchless.model.manifest import ParityRule
from torchless.records import dataclass

EVIDENCE_VERSION = 1
# How much of a file it may be, and at most.
MOST_BYTES, LEAST_SHARE = 300_000, 10
# What is read at all: a later version may allow itself more than this one writes.
_MOST_CHARACTERS, _MOST_JSON_BYTES, _MOST_IMAGES = 2_000_000, 8_000_000, 64
_ENTRY_BYTES = 48  # the key and the lengths around the text
_LOGITS = np.dtype("<f8")


@dataclass(frozen=True, kw_only=True)
class EvidenceImage:
    """A test image, and PyTorch's answer to it.

    `file` is the encoded image, a JPEG or PNG, and `logits` are PyTorch's, float64 (classes,) in little-endian order;
    both are in base64. `input_sha256` is of the bytes that the model is given: PyTorch's own prepared tensor, float32
    (channels, height, width), or the pixels, uint8 (height, width, 3), where the preprocessing is in the graph. `label`
    is the name of PyTorch's answer.
    """

    set: Literal["random", "photos"]
    name: str
    file: str
    input_sha256: str
    logits: str
    label: str

    @property
    def content(self) -> bytes:
        """The encoded image."""
        return base64.b64decode(self.file)

    @property
    def reference(self) -> NDArray[np.float64]:
        """PyTorch's logits, (classes,)."""
        return np.frombuffer(base64.b64decode(self.logits), _LOGITS).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class SetLimit:
    """How far a logit of a set's images may be from PyTorch's: `units` times `unit`, as at the gate.

    Under the rule "decisions" that is how far one was at the gate, and only says which classes may change places.
    """

    set: Literal["random", "photos"]
    unit: float
    units: float

    @property
    def absolute(self) -> float:
        return self.unit * self.units


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Test images with PyTorch's answers, and the limits in force.

    `rule` and `reason` are the gate's (manifest.Parity). Under the rule "decisions" `min_agreement` is the least share
    of photos with PyTorch's answer, and `max_noise`, for float16, the largest root mean square of the logits'
    differences as a share of their standard deviation between images. `labels_sha256` is that of the labels.
    """

    KEY: ClassVar[str] = "torchless.evidence"

    rule: ParityRule
    limits: tuple[SetLimit, ...]
    labels_sha256: str
    images: tuple[EvidenceImage, ...]
    reason: str | None = None
    min_agreement: float | None = None
    max_noise: float | None = None
    version: int = EVIDENCE_VERSION

    def limit(self, image: EvidenceImage) -> SetLimit:
        """That of the image's set."""
        return next(limit for limit in self.limits if limit.set == image.set)

    def fitted(self, room: int) -> "Evidence | None":
        """With those of the images, in their order, that fit into `room` bytes of a file; None if too few do to prove
        anything: none at all, or where photos decide, no photo.
        """
        kept: tuple[EvidenceImage, ...] = ()
        for image in self.images:
            if len(replace(self, images=(*kept, image)).to_text()) <= room - _ENTRY_BYTES:
                kept = (*kept, image)
        telling = [image for image in kept if self.rule != "decisions" or image.set == "photos"]
        return replace(self, images=kept) if telling else None

    def to_text(self) -> str:
        """As it stands in the file."""
        document = json.dumps(encode(self), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return base64.b64encode(zlib.compress(document.encode(), 9)).decode()

    @classmethod
    def from_text(cls, text: str) -> "Evidence":
        """The inverse of to_text. Raises ManifestVersionError for a newer version, ManifestError for anything else that
        is wrong, naming the field.
        """
        document = loads(_unpacked(text), "the evidence")
        version = document.get("version") if isinstance(document, dict) else None
        if isinstance(version, int) and version > EVIDENCE_VERSION:
            raise ManifestVersionError(
                f"the evidence has version {version}, this torchless reads up to version {EVIDENCE_VERSION}; install a "
                "newer torchless: pip install --upgrade torchless"
            )
        evidence: Evidence = decode(cls, document, "evidence")
        _check(evidence)
        return evidence


def evidence_of(artifact: Artifact) -> Evidence:
    """The evidence inside an artifact. Raises EvidenceMissingError where there is none, and ManifestError; both name
    the file.
    """
    text = artifact.file.metadata.get(Evidence.KEY)
    if text is None:
        raise EvidenceMissingError(
            f"{artifact.path} carries no evidence, so it cannot be proved without PyTorch; export it again, or, where "
            f"PyTorch is: torchless verify {artifact.path} --rebuild"
        )
    try:
        return Evidence.from_text(text)
    except ManifestError as error:
        raise ManifestError(f"{artifact.path}: {error}") from None
    except ManifestVersionError as error:
        raise ManifestVersionError(f"{artifact.path}: {error}") from None


def room_in(file_bytes: int) -> int:
    """How many bytes of evidence go into a file of that size."""
    return min(MOST_BYTES, file_bytes // LEAST_SHARE)


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def logits_text(logits: NDArray[np.float64]) -> str:
    """Logits as EvidenceImage holds them."""
    return in_base64(logits.astype(_LOGITS).tobytes())


def labels_sha256(labels: tuple[str, ...]) -> str:
    """The SHA-256 of all labels in their order."""
    return hashlib.sha256(json.dumps(labels, ensure_ascii=False).encode("utf-8", "surrogatepass")).hexdigest()


def _unpacked(text: str) -> str:
    if len(text) > _MOST_CHARACTERS:
        raise ManifestError(f"evidence: more than {_MOST_CHARACTERS:,} characters")
    unpack = zlib.decompressobj()
    try:
        document = unpack.decompress(_bytes(text, "evidence"), _MOST_JSON_BYTES)
    except zlib.error as error:
        raise ManifestError(f"evidence: not compressed by zlib, or damaged: {error}") from None
    if unpack.unconsumed_tail:
        raise ManifestError(f"evidence: more than {_MOST_JSON_BYTES:,} bytes when it is unpacked")
    if not unpack.eof:
        raise ManifestError("evidence: truncated")
    try:
        return document.decode()
    except UnicodeDecodeError:
        raise ManifestError("evidence: not UTF-8") from None


def _bytes(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ManifestError(f"{where}: not base64") from None


def _check(evidence: Evidence) -> None:
    if not 1 <= len(evidence.images) <= _MOST_IMAGES:
        raise ManifestError(f"evidence.images: expected 1 to {_MOST_IMAGES} images, got {len(evidence.images)}")
    for number, limit in enumerate(evidence.limits):
        if not limit.unit > 0 or not limit.units > 0:
            raise ManifestError(f"evidence.limits[{number}]: expected numbers above 0")
    if evidence.min_agreement is None and evidence.rule == "decisions":
        raise ManifestError("evidence.min_agreement is missing")
    if evidence.rule == "decisions" and not any(image.set == "photos" for image in evidence.images):
        raise ManifestError('evidence.images: the rule "decisions" needs a photo')
    _check_sha256(evidence.labels_sha256, "evidence.labels_sha256")
    sets, sizes = {limit.set for limit in evidence.limits}, set()
    for number, image in enumerate(evidence.images):
        where = f"evidence.images[{number}]"
        if image.set not in sets:
            raise ManifestError(f"{where}.set: evidence.limits has none for {image.set!r}")
        _check_sha256(image.input_sha256, f"{where}.input_sha256")
        _bytes(image.file, f"{where}.file")
        sizes.add(_check_logits(image.logits, f"{where}.logits"))
    if len(sizes) != 1:
        raise ManifestError(f"evidence.images: logits of different numbers of classes: {sorted(sizes)}")


def _check_sha256(text: str, where: str) -> None:
    if not re.fullmatch("[0-9a-f]{64}", text):
        raise ManifestError(f"{where}: expected the 64 hexadecimal digits of a SHA-256")


def _check_logits(text: str, where: str) -> int:
    """Their number."""
    data = _bytes(text, where)
    if not data or len(data) % _LOGITS.itemsize:
        raise ManifestError(f"{where}: expected numbers of {_LOGITS.itemsize} bytes, got {len(data)} bytes")
    if not all(map(math.isfinite, np.frombuffer(data, _LOGITS).tolist())):
        raise ManifestError(f"{where}: expected finite numbers")
    return len(data) // _LOGITS.itemsize
