"""verify: an artifact proved by the evidence inside it, on this machine and without PyTorch."""

from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

from torchless.codec import encode
from torchless.engine.classifier import Classifier
from torchless.engine.loading import import_onnxruntime
from torchless.engine.options import ModelOptions
from torchless.errors import ManifestError, ManifestMissingError, ProofError
from torchless.expected.answers import Expected, read_expected
from torchless.expected.check import check_expected
from torchless.model.evidence import Evidence, evidence_of
from torchless.model.manifest import Check, Manifest, ParityRule
from torchless.model.onnxfile import read_onnx
from torchless.proof.checks import check_answers, check_seal
from torchless.records import dataclass
from torchless.text import images_text


@dataclass(frozen=True, kw_only=True)
class Proof:
    """The verdict of an artifact on the evidence inside it: `checks`, on that many `images` (0 where it carries none).

    `expected` is the file of the user's own answers that it was compared with too, None for none. `device` is what it
    ran on, "cpu", "cuda:0"…, under `onnxruntime` of that version; `assignment` is how many nodes ran there, None on the
    CPU. `rule` and `reason` are those of the gate that wrote the evidence (docs/verify.md).
    """

    path: Path
    checks: tuple[Check, ...]
    images: int
    rule: ParityRule | None
    reason: str | None
    device: str
    onnxruntime: str
    expected: Path | None = None
    assignment: str | None = None

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [check.name for check in self.checks if not check.passed]

    @property
    def failure(self) -> str:
        """A sentence on what failed."""
        details = "; ".join(f"{check.name}: {check.detail}" for check in self.checks if not check.passed)
        return f"{self.path} does not give PyTorch's answers here ({self.device}): {details}"

    def __str__(self) -> str:
        """Which kind of proof it was, and how it ended."""
        verdict = "proved" if self.passed else "FAILED"
        sides = [f"PyTorch's recorded answers on {images_text(self.images)}"] * bool(self.images)
        sides += [f"your own in {self.expected}"] if self.expected is not None else []
        return f"{self.path}: {verdict} against {' and '.join(sides)}; PyTorch itself was not run"

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds."""
        return {
            "file": str(self.path),
            "proof": "evidence",
            "passed": self.passed,
            "images": self.images,
            "expected": str(self.expected) if self.expected is not None else None,
            "rule": self.rule,
            "reason": self.reason,
            "device": self.device,
            "assignment": self.assignment,
            "onnxruntime": self.onnxruntime,
            "checks": encode(self.checks),
        }


def verify(
    model: str | PathLike[str],
    *,
    device: str = "auto",
    expect: str | PathLike[str] | None = None,
    threads: int | None = None,
    require_signature: bytes | None = None,
) -> Proof:
    """Runs the artifact `model` on the test images that it carries, and compares with PyTorch's answers, which it
    carries too. Needs no PyTorch.

    `expect` is a file of your own program's answers to some images (docs/expected.md), with which it is compared too;
    then it needs to carry none. `device`, `threads` and `require_signature` are those of Classifier.

    A failed check is no exception, but in `proof.failed`. Raises ArtifactError for the file, EvidenceMissingError if it
    carries none, DeviceError for the device, and UsageError for `expect`.
    """
    file = read_onnx(model)
    if Manifest.KEY not in file.metadata:
        raise ManifestMissingError(
            f"{file.path} has no manifest, so nothing in it can be proved; torchless export makes artifacts that can be"
        )
    artifact = ModelOptions(require_signature=require_signature).read(file)
    expected = read_expected(expect) if expect is not None else None
    carries = expected is None or Evidence.KEY in file.metadata
    evidence = evidence_of(artifact) if carries else None  # before anything is loaded
    return _prove(Classifier.of(artifact, device=device, threads=threads), evidence, expected)


def prove(classifier: Classifier) -> Proof:
    """The same for a model that is open already, and as it runs there. Raises ArtifactError and its subclasses."""
    return _prove(classifier, evidence_of(classifier.artifact))


def require_proof(classifier: Classifier) -> Proof:
    """The same, where a proof that fails is an error: ProofError."""
    proof = prove(classifier)
    if not proof.passed:
        raise ProofError(proof.failure)
    return proof


def _prove(classifier: Classifier, evidence: Evidence | None, expected: Expected | None = None) -> Proof:
    return Proof(
        path=classifier.artifact.path,
        checks=tuple(_checks(classifier, evidence, expected)),
        images=len(evidence.images) if evidence is not None else 0,
        rule=evidence.rule if evidence is not None else None,
        reason=evidence.reason if evidence is not None else None,
        device=classifier.device,
        assignment=str(classifier.assignment) if classifier.assignment is not None else None,
        onnxruntime=import_onnxruntime().__version__,
        expected=expected.path if expected is not None else None,
    )


def _checks(classifier: Classifier, evidence: Evidence | None, expected: Expected | None) -> Iterator[Check]:
    yield check_seal(classifier.artifact)
    if evidence is not None:
        try:
            yield from check_answers(classifier, evidence)
        except ManifestError as error:
            raise ManifestError(f"{classifier.artifact.path}: {error}") from None
    if expected is not None:
        yield check_expected(classifier, expected)
