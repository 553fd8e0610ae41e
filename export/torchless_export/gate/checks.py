"""Figures against limits. Contract first, values second: structure, labels, preprocessing, logits, batching, decision,
and that none of it is vacuous.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx

from torchless.engine.classifier import Classifier
from torchless.engine.head import Head
from torchless.errors import ArtifactError, InferenceError
from torchless.expected.answers import Expected
from torchless.expected.check import check_expected
from torchless.model.manifest import Check, Parity, ParityRule
from torchless.progress import Bars, no_bars
from torchless.proof.answers import TOP_K, max_abs, same_answer
from torchless_export.errors import ExportError
from torchless_export.gate import decisions
from torchless_export.gate.answers import check_activation
from torchless_export.gate.decisions import sealed_limit
from torchless_export.gate.departure import Departure, find_departure, unknown_departure
from torchless_export.gate.evidence import Evidence, gather
from torchless_export.gate.limits import BATCH_SIZES
from torchless_export.gate.metrics import measure
from torchless_export.gate.oracle import Oracle, run_alone
from torchless_export.gate.pixels import as_the_network_sees, inside, pixel_checks
from torchless_export.gate.structure import check_structure
from torchless_export.sources import images
from torchless_export.sources.images import TestImage
from torchless_export.sources.load import LoadedModel


@dataclass(frozen=True)
class Verdict:
    """What the gate found. `evidence` is None where the file could not be run at all; `departure` is where a failing
    network goes wrong.
    """

    parity: Parity
    evidence: Evidence | None = None
    departure: Departure | None = None

    @property
    def passed(self) -> bool:
        return self.parity.passed

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return self.parity.failed


def check(
    loaded: LoadedModel,
    path: Path,
    *,
    oracle: Oracle | None = None,
    device: str = "cpu",
    first: Iterable[Check] = (),
    more: Mapping[str, Iterable[TestImage]] | None = None,
    expected: Expected | None = None,
    thumbnails: bool = False,
    bars: Bars = no_bars,
) -> Verdict:
    """Runs every check on the file at `path`, which must hold its manifest. If the structure or the reference fails,
    nothing else is checked.

    `oracle` is PyTorch's side, if the caller has it already; `device` is ONNX Runtime's; `first` are checks that the
    caller made; `more` are sets of images beside the gate's own; `expected` are the user's own answers; `thumbnails`
    keeps a small picture of each image for the report; `bars` shows how many images are done. Raises DeviceError for a
    device that is not available.
    """
    checks = [*first, check_structure(path)]
    if {"reference", "structure"} & {each.name for each in checks if not each.passed}:
        return unusable(checks)
    try:
        classifier = Classifier(path, device=device)
        checks.append(_check_labels(loaded, classifier))
        oracle = oracle or Oracle(loaded.module, loaded.shape)
        part = inside(classifier.manifest, path)
        checks += (
            pixel_checks(loaded, classifier, oracle, part)
            if part is not None
            else [_check_preprocessing(loaded, classifier)]
        )
        sets = {**images.gate_sets(loaded.size), **(more or {})}
        evidence = gather(as_the_network_sees(loaded, part), classifier, oracle, sets, thumbnails=thumbnails, bars=bars)
    except (ArtifactError, ExportError, InferenceError) as error:  # the runtime that ships cannot use the file at all
        return unusable([*checks, Check(name="runs", passed=False, figure=float("inf"), limit=0, detail=str(error))])
    manifest = classifier.manifest
    same_input = checks[-1].passed and not manifest.input.takes_pixels
    exact = manifest.precision == "fp32"
    head = classifier.head
    checks += _check_values(evidence, head) if exact else _check_answers(evidence, head, sealed_limit(manifest))
    outputs = np.concatenate([found.reference for found in evidence.sets.values()])
    checks.append(check_activation(head, outputs, onnx.load(str(path), load_external_data=False).graph))
    parity = _parity(evidence, checks, evidence.rule if exact else "decisions")
    if expected is not None:
        parity = _with_expected(parity, loaded, classifier, expected)
    broken = exact and same_input and any(name.startswith("logits") for name in parity.failed)
    return Verdict(parity, evidence, _departure(loaded, path, evidence, device) if broken else None)


def _departure(loaded: LoadedModel, path: Path, evidence: Evidence, device: str) -> Departure:
    """Searched with the image that is furthest off when it runs alone, in units of its set."""
    alone = {name: found.error(1) / evidence.limits(name).unit for name, found in evidence.sets.items()}
    name = max(alone, key=lambda name: alone[name])
    if alone[name] <= evidence.limits(name).units:
        return unknown_departure(
            "only in batches; one image at a time is right, so look for what mixes or fixes the batch axis"
        )
    return find_departure(loaded, path, evidence.sets[name].worst, float64=evidence.rule == "float64", device=device)


def unusable(checks: Iterable[Check]) -> Verdict:
    """The verdict where the sides could not be compared."""
    return Verdict(Parity(passed=False, checks=tuple(checks), max_abs_error=float("inf"), images=0))


def _parity(evidence: Evidence, checks: list[Check], rule: ParityRule) -> Parity:
    return Parity(
        passed=all(check.passed for check in checks),
        checks=tuple(checks),
        max_abs_error=max(found.max_abs_error for found in evidence.sets.values()),
        images=evidence.images,
        rule=rule,
        reason=evidence.reason,
        spread=evidence.spread,
        metrics=measure(evidence),
        judges=tuple(record for found in evidence.sets.values() for record in found.records),
    )


def _with_expected(parity: Parity, loaded: LoadedModel, classifier: Classifier, expected: Expected) -> Parity:
    """The cause of other answers is looked for only where the file does equal the network that it was made from."""
    equal = set(parity.failed) <= {"activation"}
    network = run_alone(loaded.module) if equal else None
    found = check_expected(classifier, expected, parity=parity, network=network, explain=equal)
    return replace(parity, passed=parity.passed and found.passed, checks=(*parity.checks, found))


def _check_labels(loaded: LoadedModel, classifier: Classifier) -> Check:
    wanted, got = loaded.labels, classifier.manifest.labels
    differing = [index for index, (ours, theirs) in enumerate(zip(wanted, got, strict=False)) if ours != theirs]
    count = len(differing) + abs(len(wanted) - len(got))
    detail = f"{len(got)} labels, as those of the model's source"
    if differing:
        detail = f"the first that differs: {differing[0]} is {got[differing[0]]!r}, not {wanted[differing[0]]!r}"
    elif count:
        detail = f"{len(got)} labels, not {len(wanted)}"
    return Check(name="labels", passed=count == 0, figure=count, limit=0, detail=detail)


def _check_preprocessing(loaded: LoadedModel, classifier: Classifier) -> Check:
    """In units of 1/255, the step of an 8-bit image."""
    step = np.array(loaded.preprocess.std)[:, None, None] * 255
    differing: dict[str, float] = {}
    count = values = 0
    cases = images.preprocessing_cases(loaded.preprocess, loaded.size)
    for count, (name, image, rgb) in enumerate(cases, start=1):  # noqa: B007
        got, wanted = classifier.preprocess(image), loaded.transform(rgb).numpy()
        if got.shape != wanted.shape:
            differing[name] = float("inf")
        elif not np.array_equal(got, wanted):
            differing[name] = max_abs((got - wanted) * step)
            values += int((got != wanted).sum())
    worst = ", ".join(f"{name}: {error:.2g}/255" for name, error in list(differing.items())[:3])
    detail = (
        f"{len(differing)} of {count} images differ, in {values:,} values ({worst})"
        if differing
        else f"{count} images, bit for bit"
    )
    return Check(
        name="preprocessing", passed=not differing, figure=max(differing.values(), default=0.0), limit=0, detail=detail
    )


def _check_values(evidence: Evidence, head: Head) -> Iterator[Check]:
    for name, found in evidence.sets.items():
        limits = evidence.limits(name)
        worst = max(found.runs, key=found.error)
        own = (
            f"times PyTorch's own error of {limits.unit:.2g}"
            if found.own_error is not None
            else f"of the {limits.unit:.2g} allowed"
        )
        detail = f"{own}: {found.error(worst):.2g} at batch {worst}"
        yield Check.at_most(f"logits_{name}", found.max_abs_error / limits.unit, limits.units, detail)
    if any(len(found.runs) > 1 for found in evidence.sets.values()):
        yield _check_batching(evidence)
    yield _check_decision(evidence, head)
    variation, needed = evidence.variation, evidence.variation_needed
    # NaN fails every comparison, and so the check.
    yield Check(
        name="not_vacuous",
        passed=variation >= needed,
        figure=variation,
        limit=needed,
        detail="how far a logit moves between images",
    )


def _check_answers(evidence: Evidence, head: Head, min_agreement: float) -> Iterator[Check]:
    """For an artifact below float32: its answers to photos; and that its answers to noise are finite."""
    sets = [found for name, found in evidence.sets.items() if name != "random"]
    wanted, alone, together = (
        np.concatenate(part)
        for part in zip(*((s.reference, s.runs[1], s.runs[max(s.runs)]) for s in sets), strict=True)
    )
    broken = sum(
        int((~np.isfinite(run)).any(axis=1).sum()) for found in evidence.sets.values() for run in found.runs.values()
    )
    found = decisions.decide(wanted, alone, head)
    yield from decisions.checks(found, min_agreement, least_images=0, more_broken=broken)
    yield decisions.check_batching(alone, together, head)


def _check_batching(evidence: Evidence) -> Check:
    name = max(evidence.sets, key=lambda name: evidence.sets[name].batching_error / evidence.limits(name).unit)
    limits, sizes = evidence.limits(name), ", ".join(map(str, BATCH_SIZES[1:]))
    return Check.at_most(
        "batching",
        evidence.sets[name].batching_error / limits.unit,
        limits.units,
        f"one image at a time against {sizes} at once",
    )


def _check_decision(evidence: Evidence, head: Head) -> Check:
    wrong: list[str] = []
    for name, found in evidence.sets.items():
        limit = evidence.limits(name).absolute
        for record, wanted, *answers in zip(found.records, found.reference, *found.runs.values(), strict=True):
            # A logit may move by the error, but never by more than the limit.
            errors = [min(max_abs(got - wanted), limit) for got in answers]
            agree = all(same_answer(head, wanted, got, error) for got, error in zip(answers, errors, strict=True))
            wrong += [record.name] * (not agree)
    detail = (
        f"{len(wrong)} images: {', '.join(wrong[:4])}"
        if wrong
        else f"same {'classes' if head.multi_label else f'top-1 and top-{TOP_K} order'} on {evidence.images} images"
    )
    return Check(name="decision", passed=not wrong, figure=len(wrong), limit=0, detail=detail)
