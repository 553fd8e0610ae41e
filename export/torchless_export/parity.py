"""The gate: whether an exported file gives PyTorch's answers, checked with the very runtime code that ships.

Contract first, values second: structure, preprocessing, logits, batching, decision, and that none of it was vacuous. docs/parity.md
explains each check and its limit.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import torch
from numpy.typing import NDArray

from torchless.classifier import Classifier
from torchless.errors import TorchlessError, first_line
from torchless.manifest import Check, Parity
from torchless.report import columns
from torchless_export import judges
from torchless_export.sources import LoadedModel
from torchless_export.to_onnx import BATCH_AXIS

BATCH_SIZES = (1, 2, 3, 8)
TOP_K = 5

# What the oldest ONNX Runtime that pyproject.toml admits (1.20.0) can read; tests/install proves it with that version.
MAX_OPSET, MAX_IR_VERSION = 21, 10

# A logit may differ by this much of the logits' spread (their largest minus their smallest), and by this much in any case.
RELATIVE_LIMIT, ABSOLUTE_LIMIT = 5e-5, 1e-6
# Between images each logit must move by this many times the limit, or agreement would prove nothing.
VACUITY_FACTOR = 100.0

Array = NDArray[np.float32]


class Finding(NamedTuple):
    """What a check measured, and in words where."""

    figure: float
    detail: str


def judge(loaded: LoadedModel, path: Path) -> Parity:
    """Runs every check on the file at `path`, which must hold its manifest. Structure that fails ends it: nothing else could be trusted."""
    structure = _check_structure(path)
    if not structure.passed:
        return Parity(passed=False, checks=(structure,), max_abs_error=float("inf"), images=0)
    try:
        classifier = Classifier(path, device="cpu")
        preprocessing = _check_preprocessing(loaded, classifier)
        evidence = gather(loaded, classifier)
    except TorchlessError as error:  # the runtime that ships cannot use the file at all: the plainest of failures
        runs = Check(name="runs", passed=False, figure=float("inf"), limit=0, detail=str(error))
        return Parity(passed=False, checks=(structure, runs), max_abs_error=float("inf"), images=0)
    checks = (structure, preprocessing, *_check_values(evidence))
    return Parity(
        passed=all(check.passed for check in checks),
        checks=checks,
        max_abs_error=max(evidence.errors(name).figure for name in evidence.references),
        images=sum(len(reference) for reference in evidence.references.values()),
    )


def table(parity: Parity) -> str:
    """The checks as aligned text, a line each."""
    rows = [
        (check.name, "ok" if check.passed else "FAILED", f"{check.figure:.3g}", _limit_text(check), check.detail) for check in parity.checks
    ]
    rows.insert(0, ("check", "", "figure", "limit", ""))
    return "\n".join(f"  {line}" for line in columns(rows, "<<><<"))


def _limit_text(check: Check) -> str:
    return f"{'≥' if check.name == 'not_vacuous' else '≤'} {check.limit:.3g}"


@dataclass(frozen=True)
class Evidence:
    """The logits of both sides, by set of images ("random", "photos").

    `references` holds PyTorch's (N, classes); `batched` ONNX Runtime's for the first b images at each batch size b; `single` those for one
    image at a time.
    """

    references: dict[str, Array]
    batched: dict[str, dict[int, Array]]
    single: dict[str, Array]

    @property
    def spread(self) -> float:
        """The largest minus the smallest logit of PyTorch's."""
        everything = self._all_references()
        return float(everything.max() - everything.min())

    @property
    def limit(self) -> float:
        return ABSOLUTE_LIMIT + RELATIVE_LIMIT * self.spread

    @property
    def variation(self) -> float:
        """How much a logit moves from image to image: the median over classes of its standard deviation."""
        return float(np.median(self._all_references().std(axis=0)))

    def errors(self, name: str) -> Finding:
        """The largest difference from PyTorch over all batch sizes."""
        worst = {size: _max_abs(got - self.references[name][:size]) for size, got in self.batched[name].items()}
        return Finding(max(worst.values()), ", ".join(f"batch {size}: {error:.2g}" for size, error in worst.items()))

    def _all_references(self) -> Array:
        return np.concatenate(list(self.references.values()))


def gather(loaded: LoadedModel, classifier: Classifier) -> Evidence:
    """Runs both sides over noise and photos; each side prepares the images with its own preprocessing."""
    references, batched, single = {}, {}, {}
    for name, images in (("random", judges.noise(seed=2)), ("photos", judges.photos())):
        with torch.inference_mode():
            references[name] = loaded.module(torch.stack([loaded.transform(image) for image in images])).float().numpy()
        prepared = np.stack([classifier.preprocess(image) for image in images])
        batched[name] = {size: classifier.run(prepared[:size]) for size in BATCH_SIZES}
        single[name] = np.concatenate([classifier.run(prepared[i : i + 1]) for i in range(len(prepared))])
    return Evidence(references, batched, single)


def _check_structure(path: Path) -> Check:
    problems = list(_structure_problems(path))
    return Check(
        name="structure",
        passed=not problems,
        figure=len(problems),
        limit=0,
        detail="; ".join(problems) or "ONNX checker, symbolic batch, finite weights",
    )


def _structure_problems(path: Path) -> Iterator[str]:
    try:
        onnx.checker.check_model(str(path), full_check=True)
        model = onnx.load(str(path))
    except Exception as error:  # the checker and protobuf have exceptions of their own, with Exception as the only base
        yield f"the ONNX checker refuses it: {first_line(error)}"
        return
    if model.ir_version > MAX_IR_VERSION:
        yield f"IR version {model.ir_version} is newer than {MAX_IR_VERSION}"
    yield from (
        f"opset {entry.domain or 'ai.onnx'} {entry.version} is not readable everywhere" for entry in model.opset_import if _is_foreign(entry)
    )
    for tensor in (*model.graph.input, *model.graph.output):
        if tensor.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
            yield f"{tensor.name} is {onnx.TensorProto.DataType.Name(tensor.type.tensor_type.elem_type).lower()}, not float32"
        first = tensor.type.tensor_type.shape.dim[0]
        if first.dim_param != BATCH_AXIS:
            yield f"the batch axis of {tensor.name} is frozen at {first.dim_value}"
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
            yield f"weight {weight.name} holds NaN or infinity"


def _is_foreign(entry: onnx.OperatorSetIdProto) -> bool:
    return entry.domain not in ("", "ai.onnx") or entry.version > MAX_OPSET


def _check_preprocessing(loaded: LoadedModel, classifier: Classifier) -> Check:
    differing: dict[str, float] = {}
    count = 0
    for count, (name, image, rgb) in enumerate(judges.preprocessing_cases(), start=1):  # noqa: B007
        got, wanted = classifier.preprocess(image), loaded.transform(rgb).numpy()
        if got.shape != wanted.shape or not np.array_equal(got, wanted):
            differing[name] = _max_abs(got - wanted) if got.shape == wanted.shape else float("inf")
    worst = ", ".join(f"{name}: {error:.2g}" for name, error in list(differing.items())[:3])
    detail = f"{len(differing)} of {count} images differ ({worst})" if differing else f"{count} images, bit for bit torchvision's"
    return Check(name="preprocessing", passed=not differing, figure=max(differing.values(), default=0.0), limit=0, detail=detail)


def _check_values(evidence: Evidence) -> Iterator[Check]:
    limit = evidence.limit
    for name in evidence.references:
        error = evidence.errors(name)
        yield _at_most(f"logits_{name}", error, limit)
    apart = max(_max_abs(evidence.single[name] - evidence.batched[name][BATCH_SIZES[-1]]) for name in evidence.single)
    yield _at_most("batching", Finding(apart, f"one image at a time against {BATCH_SIZES[-1]} at once"), limit)
    yield _check_decision(evidence)
    variation, needed = evidence.variation, VACUITY_FACTOR * limit
    # NaN fails every comparison, and so the check.
    yield Check(name="not_vacuous", passed=variation >= needed, figure=variation, limit=needed, detail="how far a logit moves between images")


def _at_most(name: str, finding: Finding, limit: float) -> Check:
    return Check(name=name, passed=finding.figure <= limit, figure=finding.figure, limit=limit, detail=finding.detail)


def _check_decision(evidence: Evidence) -> Check:
    wrong: list[str] = []
    for name, references in evidence.references.items():
        for number, (wanted, got) in enumerate(zip(references, evidence.batched[name][BATCH_SIZES[-1]], strict=True)):
            tie = 2 * min(_max_abs(got - wanted), evidence.limit)  # each of two logits may move by the error, never by more than the limit
            wrong += [f"{name} {number}"] * (not same_order(wanted, got, tie))
    total = sum(len(references) for references in evidence.references.values())
    detail = f"{len(wrong)} of {total} images: {', '.join(wrong[:4])}" if wrong else f"same top-1 and top-{TOP_K} order on {total} images"
    return Check(name="decision", passed=not wrong, figure=len(wrong), limit=0, detail=detail)


def same_order(wanted: Array, got: Array, tie: float) -> bool:
    """Whether both rank the same top five, where classes that `wanted` holds within `tie` of each other may change places."""
    ours, theirs = (np.argsort(-logits, kind="stable")[:TOP_K] for logits in (wanted, got))
    return all(a == b or abs(float(wanted[a]) - float(wanted[b])) <= tie for a, b in zip(ours, theirs, strict=True))


def _max_abs(difference: Array) -> float:
    """NaN, where there is one, counts as infinite."""
    worst = float(np.abs(difference).max(initial=0.0))
    return worst if worst == worst else float("inf")
