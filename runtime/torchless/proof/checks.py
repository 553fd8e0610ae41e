"""The checks of the proof: an artifact, as it runs here, against the evidence inside it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np

from torchless.engine.classifier import Classifier, Prepared
from torchless.errors import ImageError, InferenceError, ManifestError
from torchless.image.decode import load_rgb
from torchless.image.exact_crop import preprocess_crop
from torchless.image.options import ImageOptions
from torchless.model.artifact import Artifact
from torchless.model.evidence import Evidence, EvidenceImage, labels_sha256
from torchless.model.manifest import Check, Manifest
from torchless.model.seal import Seal
from torchless.proof.answers import TOP_K, Logits, answer, max_abs, noise, same_answer
from torchless.text import images_text

# Those in the evidence are small; what a hostile file brings must not be decoded at any size.
_OPTIONS = ImageOptions(max_pixels=1_000_000)


def check_seal(artifact: Artifact) -> Check:
    """Whether the file is unchanged since it was made. Raises ArtifactNotFoundError if it cannot be read."""
    seal = artifact.seal
    details = {
        Seal.INTACT: "unchanged since it was exported",
        Seal.CHANGED: "the file was changed after it was sealed",
        Seal.MISSING: "the file has no seal",
    }
    return Check(
        name="seal", passed=seal == Seal.INTACT, figure=int(seal != Seal.INTACT), limit=0, detail=details[seal]
    )


def check_answers(classifier: Classifier, evidence: Evidence) -> Iterator[Check]:
    """Labels, preprocessing, logits and decisions. Images are read as PyTorch read them, whatever the options of
    `classifier` say. Raises ManifestError for an image in the evidence that is none.
    """
    manifest = classifier.manifest
    given = inputs_of(manifest, evidence)
    yield _check_labels(evidence, classifier)
    yield _check_inputs(evidence.images, given, pixels=manifest.input.takes_pixels)
    wanted = np.stack([image.reference for image in evidence.images])
    try:
        alone = np.concatenate([classifier.run([one]) for one in given])
        together = alone if manifest.input.takes_pixels else classifier.run(given)
        _check_shapes(wanted, alone, together)
    except InferenceError as error:
        yield Check(name="runs", passed=False, figure=float("inf"), limit=0, detail=str(error))
        return
    compared = _Compared(evidence, classifier, wanted, alone, together)
    yield from compared.decisions() if evidence.rule == "decisions" else compared.values()


def inputs_of(manifest: Manifest, evidence: Evidence) -> list[Prepared]:
    """The images as Classifier.run takes them. Raises ManifestError for one that is none."""
    return [_prepared(manifest, image, number) for number, image in enumerate(evidence.images)]


def _prepared(manifest: Manifest, image: EvidenceImage, number: int) -> Prepared:
    try:
        rgb = load_rgb(image.content, _OPTIONS)
        if manifest.input.takes_pixels:
            return np.asarray(rgb)
        return preprocess_crop(rgb, manifest.preprocess)
    except ImageError as error:
        raise ManifestError(f"evidence.images[{number}].file: {error}") from None


def _check_labels(evidence: Evidence, classifier: Classifier) -> Check:
    """All of them by their hash, and those of PyTorch's answers by name, so that the message can show one."""
    labels = classifier.manifest.labels  # which the user may have replaced
    head = replace(classifier.head, labels=labels)
    comparable = len(evidence.images[0].reference) == head.outputs  # otherwise the next checks say so
    answers = [(image.label, answer(head, image.reference)) for image in evidence.images if comparable]
    wrong = [(theirs, ours) for theirs, ours in answers if theirs != ours]
    changed = labels_sha256(labels) != evidence.labels_sha256
    detail = f"{len(labels)} labels, as when it was exported"
    if wrong:
        detail = f"PyTorch's answer {wrong[0][0]!r} is called {wrong[0][1]!r}"
    elif changed:
        detail = "their names or their order changed since it was exported"
    return Check.at_most("labels", max(len(wrong), int(changed)), 0, detail)


def _check_inputs(images: Sequence[EvidenceImage], given: Sequence[Prepared], *, pixels: bool) -> Check:
    """Bit for bit: the model is given what PyTorch was given."""
    wrong = [
        image.name
        for image, one in zip(images, given, strict=True)
        if hashlib.sha256(np.ascontiguousarray(one).tobytes()).hexdigest() != image.input_sha256
    ]
    what = "decoded pixels" if pixels else "prepared tensors"
    detail = f"{what} differ: {', '.join(wrong[:4])}" if wrong else f"{images_text(len(images))}, bit for bit"
    return Check.at_most("preprocessing", len(wrong), 0, detail)


def _check_shapes(wanted: Logits, *got: Logits) -> None:
    for run in got:
        if run.shape != wanted.shape:
            raise InferenceError(f"the graph gives {run.shape}, PyTorch gave {wanted.shape} (images, classes)")


class _Compared:
    """PyTorch's logits and the model's, one image at a time and all at once; each (images, classes)."""

    def __init__(
        self, evidence: Evidence, classifier: Classifier, wanted: Logits, alone: Logits, together: Logits
    ) -> None:
        self._evidence, self._head = evidence, classifier.head
        self._wanted, self._alone, self._together = wanted, alone, together
        limits = [evidence.limit(image) for image in evidence.images]
        self._units = np.array([limit.unit for limit in limits])[:, None]
        self._absolute = [limit.absolute for limit in limits]
        self._most_units = max(limit.units for limit in limits)
        self._batched = not classifier.manifest.input.takes_pixels

    def values(self) -> Iterator[Check]:
        """Of a file whose logits have to be PyTorch's."""
        errors = [max_abs((run - self._wanted) / self._units) for run in (self._alone, self._together)]
        largest = max(max_abs(run - self._wanted) for run in (self._alone, self._together))
        what = "times PyTorch's own error" if self._evidence.rule == "float64" else "of what is allowed without float64"
        yield Check.at_most("logits", max(errors), self._most_units, f"{what}; the largest difference is {largest:.2g}")
        if self._batched:
            apart = max_abs((self._together - self._alone) / self._units)
            detail = f"one image at a time against {len(self._alone)} at once"
            yield Check.at_most("batching", apart, self._most_units, detail)
        wrong = self._moved(self._wanted, self._alone, TOP_K) or self._moved(self._wanted, self._together, TOP_K)
        answers = "classes" if self._head.multi_label else f"top-1 and top-{TOP_K} order"
        same = f"same {answers} on {images_text(len(self._wanted))}"
        yield Check.at_most(
            "decision", len(wrong), 0, f"{len(wrong)} images: {', '.join(wrong[:4])}" if wrong else same
        )

    def decisions(self) -> Iterator[Check]:
        """Of a file below float32, whose answers count (docs/quantize.md): to photos, where PyTorch's answer has a
        margin.
        """
        broken = int((~np.isfinite(self._alone) | ~np.isfinite(self._together)).any(axis=1).sum())
        yield Check.at_most("finite", broken, 0, "answers of NaN or infinity")
        photos = [number for number, image in enumerate(self._evidence.images) if image.set == "photos"]
        limit = round(1 - (self._evidence.min_agreement or 0.0), 6)
        wrong = self._moved(self._wanted, self._alone, 1, photos)
        answers = "classes" if self._head.multi_label else "top-1"
        same = f"same {answers} on {len(photos) - len(wrong)} of {len(photos)} photos, ties not counted"
        yield Check.at_most(
            "decision", len(wrong) / len(photos), limit, f"{same}{': ' * bool(wrong)}{', '.join(wrong[:4])}"
        )
        if self._batched:
            changed = self._moved(self._alone, self._together, 1, photos)
            yield Check.at_most("batching", len(changed), 0, "photos whose answer depends on the batch size")
        if self._evidence.max_noise is not None:
            figure = noise(self._wanted[photos], self._alone[photos])
            detail = "of the logits' standard deviation between images"
            yield Check.at_most("noise", figure, self._evidence.max_noise, detail)

    def _moved(self, wanted: Logits, got: Logits, count: int, numbers: Sequence[int] | None = None) -> list[str]:
        """The names of the images whose answers changed. A logit may move by the error, but never by more than the
        limit.
        """
        images, moved = self._evidence.images, []
        for number in range(len(images)) if numbers is None else numbers:
            error = min(max_abs(got[number] - wanted[number]), self._absolute[number])
            if not same_answer(self._head, wanted[number], got[number], error, count):
                moved.append(images[number].name)
        return moved
