"""Evidence for a file that was made of a proved one, and the seal of any file that passed. Needs onnx, not torch."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from torchless.engine.classifier import Classifier
from torchless.model.evidence import Evidence
from torchless.model.manifest import Manifest, Parity
from torchless.proof.answers import max_abs
from torchless.proof.checks import inputs_of
from torchless.proof.run import prove
from torchless.text import images_text
from torchless_export.convert.write import SealedFile
from torchless_export.errors import ParityError
from torchless_export.gate.decisions import sealed_limit
from torchless_export.gate.limits import MAX_HALF_NOISE
from torchless_export.gate.text import table

# Below float32: how many times the largest difference at the gate another processor's may be.
_OTHER_PROCESSORS = 2.0


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
