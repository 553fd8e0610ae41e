"""The evidence that an artifact carries: small test images and PyTorch's answers to them, with the gate's limits."""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from torchless.engine.head import make_head
from torchless.image.decode import load_rgb
from torchless.model.artifact import read_artifact
from torchless.model.evidence import (
    Evidence,
    EvidenceImage,
    SetLimit,
    in_base64,
    labels_sha256,
    logits_text,
)
from torchless.proof.answers import answer
from torchless_export.gate import evidence as gathered
from torchless_export.gate.oracle import Oracle, Question
from torchless_export.gate.pixels import as_the_network_sees, inside
from torchless_export.sources import images
from torchless_export.sources.load import LoadedModel

_PHOTO_SIDE, _SMALL_SIDE = 160, 32
_NOISE_SIZES = ((9, 7), (24, 32))  # (width, height): noise does not get smaller by compression


@dataclass(frozen=True)
class _Small:
    set: Literal["random", "photos"]
    name: str
    file: bytes


def enclose(loaded: LoadedModel, oracle: Oracle, path: Path, found: gathered.Evidence) -> Evidence:
    """What the float32 artifact at `path`, in which the gate `found` PyTorch's answers, may carry of them.

    Limits are those of the gate; where PyTorch's own error is larger on these images, that is the unit.
    """
    manifest = read_artifact(path).manifest
    seen = as_the_network_sees(loaded, inside(manifest, path))
    small = list(_small_images(loaded.size))
    rgb = [load_rgb(each.file) for each in small]
    tensors = _prepared(seen, rgb)
    given = [np.asarray(image) for image in rgb] if manifest.input.takes_pixels else list(tensors.numpy())
    reference = oracle.reference(tensors, in_all_ways=False)
    head = make_head(manifest.output, loaded.labels, reference.logits.shape[1])
    return Evidence(
        rule=found.rule,
        reason=found.reason,
        limits=tuple(_limit(name, found, reference.own_error) for name in ("random", "photos")),
        labels_sha256=labels_sha256(loaded.labels),
        images=tuple(
            EvidenceImage(
                set=each.set,
                name=each.name,
                file=in_base64(each.file),
                input_sha256=hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest(),
                logits=logits_text(logits),
                label=answer(head, logits),
            )
            for each, one, logits in zip(small, given, reference.logits, strict=True)
        ),
    )


def question(loaded: LoadedModel) -> Question:
    """What enclose() will put to PyTorch."""
    rgb = [load_rgb(each.file) for each in _small_images(loaded.size)]
    return Question(_prepared(loaded, rgb), in_all_ways=False)


def _prepared(loaded: LoadedModel, rgb: list[Image.Image]) -> torch.Tensor:
    return torch.stack([loaded.transform(image) for image in rgb])


def _limit(name: Literal["random", "photos"], found: gathered.Evidence, own_error: float | None) -> SetLimit:
    limits = found.limits(name)
    return SetLimit(set=name, unit=max(limits.unit, own_error or 0.0), units=limits.units)


def _small_images(size: tuple[int, int] | None) -> Iterator[_Small]:
    """In the order in which they are taken until a file has no more room: first what is small. All of `size` (height,
    width) for a network that neither resizes nor crops to its own.
    """
    noise, photos = list(_noise(size)), images.photos()
    yield noise[0]
    yield _Small("photos", f"{photos[0].record.name}, grey", _jpeg(photos[0].image.convert("L"), _SMALL_SIDE + 1, size))
    yield _Small("photos", f"{photos[1].record.name}, small", _jpeg(photos[1].image, _SMALL_SIDE, size))
    yield noise[1]
    for photo in photos:
        yield _Small("photos", photo.record.name, _jpeg(photo.image, _PHOTO_SIDE, size))


def _noise(size: tuple[int, int] | None) -> Iterator[_Small]:
    generator = np.random.default_rng(5)
    for width, height in _NOISE_SIZES if size is None else (size[::-1],) * len(_NOISE_SIZES):
        array, buffer = generator.integers(0, 256, (height, width, 3), dtype=np.uint8), io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG", optimize=True)
        yield _Small("random", f"noise {width}×{height}", buffer.getvalue())


def _jpeg(image: Image.Image, side: int, size: tuple[int, int] | None) -> bytes:
    """No longer than `side`, or of `size`. Colours are not subsampled: decoders differ in how they interpolate them."""
    small, buffer = image.copy() if size is None else image.resize(size[::-1]), io.BytesIO()
    if size is None:
        small.thumbnail((side, side))
    small.save(buffer, "JPEG", quality=80, subsampling=0, optimize=True)
    return buffer.getvalue()
