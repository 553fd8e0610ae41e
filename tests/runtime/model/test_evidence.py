"""The evidence inside an artifact: what is written reads back, what fits is kept, and hostile text is refused."""

import base64
import json
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from torchless.errors import EvidenceMissingError, ManifestError, ManifestVersionError
from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence, EvidenceImage, SetLimit, evidence_of, in_base64, logits_text, room_in


def image(number: int, set: str = "photos", size: int = 100) -> EvidenceImage:
    content = np.random.default_rng(number).bytes(size)
    return EvidenceImage(
        set=set, name=f"image {number}", file=in_base64(content), input_sha256="0" * 64,
        logits=logits_text(np.array([number, -1.5, 1 / 3])), label="ant",
    )  # fmt: skip


def evidence(*images: EvidenceImage, rule: str = "float64") -> Evidence:
    limits = tuple(SetLimit(set=name, unit=1e-6, units=5.0) for name in ("random", "photos"))
    least = 0.95 if rule == "decisions" else None
    return Evidence(rule=rule, limits=limits, labels_sha256="f" * 64, images=images, min_agreement=least)


def packed(document: Any) -> str:
    return base64.b64encode(zlib.compress(json.dumps(document).encode())).decode()


def document(**changes: Any) -> dict[str, Any]:
    return json.loads(zlib.decompress(base64.b64decode(evidence(image(0), image(1)).to_text()))) | changes


def test_it_reads_back_to_the_last_bit() -> None:
    whole = evidence(image(0, "random"), image(1))
    assert Evidence.from_text(whole.to_text()) == whole
    assert whole.images[1].reference.tolist() == [1, -1.5, 1 / 3]
    assert whole.images[1].content == np.random.default_rng(1).bytes(100)
    assert whole.limit(whole.images[0]).absolute == pytest.approx(5e-6)


def test_images_are_taken_in_their_order_while_there_is_room() -> None:
    whole = evidence(image(0), image(1, size=5000), image(2))
    small = evidence(image(0), image(2))
    assert whole.fitted(100_000) == whole
    assert whole.fitted(2000) == small  # the large one is passed over
    assert len(small.to_text()) <= 2000
    assert whole.fitted(100) is None


def test_where_photos_decide_noise_alone_is_none() -> None:
    assert evidence(image(0, "random"), image(1, size=5000), rule="decisions").fitted(2000) is None


def test_at_most_a_tenth_of_the_file_and_300_kilobytes() -> None:
    assert (room_in(20_000), room_in(1 << 30)) == (2000, 300_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("no base64", "evidence: not base64"),
        ("é" * 8, "evidence: not base64"),
        ("AAAA", "evidence: not compressed by zlib, or damaged"),
        (evidence(image(0)).to_text()[:-40] + "A" * 40, "evidence: (not compressed|truncated)"),
        (base64.b64encode(zlib.compress(b"{}" * 99)[:-6]).decode(), "evidence: truncated"),
        (base64.b64encode(zlib.compress(b"\xff")).decode(), "evidence: not UTF-8"),
        (base64.b64encode(zlib.compress(bytes(1 << 24))).decode(), "evidence: more than 8,000,000 bytes when it is"),
        ("A" * 2_000_001, "evidence: more than 2,000,000 characters"),
        (packed([]), "evidence: expected an object"),
        (packed(document(images=[])), r"evidence\.images: expected 1 to 64 images, got 0"),
        (packed(document(images=document()["images"] * 40)), r"evidence\.images: expected 1 to 64 images, got 80"),
        (packed(document(rule="decisions")), r"evidence\.min_agreement is missing"),
        (packed(document(labels_sha256="f")), r"evidence\.labels_sha256: expected the 64 hexadecimal digits"),
        (packed(document(limits=[])), r"evidence\.images\[0\]\.set: evidence\.limits has none for 'photos'"),
        (
            packed(document(limits=[{"set": "photos", "unit": 0.0, "units": 5.0}])),
            r"evidence\.limits\[0\]: expected numbers above 0",
        ),
    ],
)
def test_hostile_text(text: str, message: str) -> None:
    with pytest.raises(ManifestError, match=message):
        Evidence.from_text(text)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"file": "%"}, r"evidence\.images\[1\]\.file: not base64"),
        ({"logits": in_base64(b"1234567")}, r"images\[1\]\.logits: expected numbers of 8 bytes, got 7 bytes"),
        ({"logits": logits_text(np.array([np.nan] * 3))}, r"images\[1\]\.logits: expected finite numbers"),
        ({"logits": logits_text(np.zeros(2))}, r"logits of different numbers of classes: \[2, 3\]"),
        ({"input_sha256": "g" * 64}, r"images\[1\]\.input_sha256: expected the 64"),
        ({"set": "yours"}, r"images\[1\]\.set: expected one of"),
    ],
)
def test_a_hostile_image(changes: dict[str, str], message: str) -> None:
    first, second = document()["images"]
    with pytest.raises(ManifestError, match=message):
        Evidence.from_text(packed(document(images=[first, second | changes])))


def test_a_newer_version() -> None:
    with pytest.raises(ManifestVersionError, match="version 2, this torchless reads up to version 1"):
        Evidence.from_text(packed(document(version=2)))


def test_of_an_artifact(tiny: Path, changed: Callable[..., Path]) -> None:
    artifact = read_artifact(tiny)
    found = evidence_of(artifact)
    assert {each.set for each in found.images} == {"random", "photos"}
    assert len(artifact.file.metadata[Evidence.KEY]) <= 0.1 * artifact.file.file_size
    without = changed(manifest=artifact.manifest.to_json())
    with pytest.raises(EvidenceMissingError, match=r"carries no evidence.* torchless verify .*changed\.onnx --rebuild"):
        evidence_of(read_artifact(without))
    broken = replace(artifact, file=replace(artifact.file, metadata={Evidence.KEY: "?"}))
    with pytest.raises(ManifestError, match=rf"{tiny}: evidence: not base64"):
        evidence_of(broken)
