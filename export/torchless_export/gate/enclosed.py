"""The evidence that an artifact carries: small test images and PyTorch's answers to them, with the gate's limits."""

import hashlib
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from PIL import Image

from torchless.engine.classifier import Classifier
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
from torchless.model.manifest import Manifest, Parity
from torchless.proof.answers import answer, max_abs
from torchless.proof.checks import inputs_of
from torchless.proof.run import prove
from torchless.text import images_text
from torchless_export.convert.write import SealedFile
from torchless_export.errors import ParityError
from torchless_export.gate import evidence as gathered
from torchless_export.gate.decisions import sealed_limit
from torchless_export.gate.limits import MAX_HALF_NOISE
from torchless_export.gate.oracle import Oracle
from torchless_export.gate.pixels import as_the_network_sees, inside
from torchless_export.gate.text import table
from torchless_export.sources import images
from torchless_export.sources.load import LoadedModel

_PHOTO_SIDE, _SMALL_SIDE = 160, 32
_NOISE_SIZES = ((9, 7), (24, 32))  # (width, height): noise does not get smaller by compression
# Below float32: how many times the largest difference at the gate another processor's may be.
_OTHER_PROCESSORS = 2.0


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
    tensors = torch.stack([seen.transform(image) for image in rgb])
    given = [np.asarray(image) for image in rgb] if manifest.input.takes_pixels else list(tensors.numpy())
    reference = oracle.reference(tensors)
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


def enclose_reduced(source: Evidence, path: Path, manifest: Manifest, max_abs_error: float) -> Evidence:
    """The evidence of a float32 artifact for the file of lower precision at `path` that was made of it, with the limits
    of the gate that passed `manifest`. `max_abs_error` is how far its logits were off there.

    PyTorch's answers stay what they are; where two of them are closer than this file's error, they may change places.
    """
    classifier = Classifier(path, device="cpu")
    got = np.concatenate([classifier.run([one]) for one in inputs_of(classifier.manifest, source)])
    error = max(max_abs_error, max_abs(got - np.stack([image.reference for image in source.images])))
    return replace(
        source,
        rule="decisions",
        reason=None,
        limits=tuple(replace(limit, unit=error, units=_OTHER_PROCESSORS) for limit in source.limits),
        min_agreement=sealed_limit(manifest),
        max_noise=MAX_HALF_NOISE if manifest.precision == "fp16" else None,
    )


def seal(file: SealedFile, manifest: Manifest, evidence: Evidence, progress: Callable[[str], None]) -> None:
    """Writes an artifact that passed the gate, with as much of the evidence as fits, and lets it prove itself by that.

    Raises ParityError if it cannot.
    """
    fitted = evidence.fitted(file.room(manifest))
    file.write(manifest, fitted.to_text() if fitted is not None else None)
    if fitted is None:
        progress("carries no evidence, for which it is too small: it cannot be proved without PyTorch")
        return
    proof = prove(Classifier(file.path, device="cpu"))
    if not proof.passed:
        parity = Parity(passed=False, checks=proof.checks, max_abs_error=float("inf"), images=proof.images)
        raise ParityError(f"it does not give PyTorch's answers to the images that it carries:\n{table(parity)}", parity)
    progress(f"carries PyTorch's answers to {images_text(proof.images)}: torchless verify proves it without PyTorch")


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
