"""tune: which precision, how many threads and which batch size are fastest here, among files that decide as the float32
file does.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from os import PathLike
from pathlib import Path

import numpy as np
import onnx

from torchless.cpuinfo import features
from torchless.cpus import available_cpus
from torchless.doctor.machine import machine
from torchless.engine.classifier import Classifier
from torchless.engine.devices import bf16_problem
from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence
from torchless.model.inspection import LAYERS_KEY, layers_from_json
from torchless.model.manifest import Check, Manifest, Parity, Recommended
from torchless.timing import summary, time_calls
from torchless_export.convert.write import staged, write_sealed
from torchless_export.errors import ParityError
from torchless_export.gate.structure import check_structure
from torchless_export.reduce.quantize import judge, quantize
from torchless_export.reduce.request import Goal, QuantizeRequest, TuneRequest
from torchless_export.reduce.search import Progress

ROUNDS = 3
BF16 = "fp32,bf16"  # the float32 file, with its products in bfloat16


@dataclass(frozen=True)
class _Candidate:
    """A file to measure, on which device, and how it agrees with the float32 file."""

    path: Path
    agreement: str = ""
    device: str = "cpu"


@dataclass(frozen=True)
class Tried:
    """A file at one setting: milliseconds of a forward pass, by the median of its quickest round, and images per
    second.
    """

    precision: str
    agreement: str
    threads: int
    batch_size: int
    ms: float
    device: str = "cpu"

    @property
    def images_per_second(self) -> float:
        return 1000 * self.batch_size / self.ms


@dataclass(frozen=True)
class Tuned:
    """What was tried, the best of it, and the file that was sealed with its settings."""

    path: Path
    tried: tuple[Tried, ...]
    best: Tried
    refused: tuple[str, ...]


def tune(request: TuneRequest, output: str | PathLike[str], *, progress: Progress = lambda _: None) -> Tuned:
    """Makes the int8 file of the source, measures both files on the CPU, and writes the faster one to `output`, with
    the best settings inside.

    A file that fails its gate is in `refused`, with what failed. Raises UsageError and ArtifactError as quantize does.
    """
    source, output, refused = request.source, Path(output), []
    with tempfile.TemporaryDirectory() as box, staged(output) as path:
        files = {"fp32": _Candidate(source)}
        wanted = QuantizeRequest(
            source=source, precision="int8", images=request.images, min_agreement=request.min_agreement, force=True
        )
        try:
            small = quantize(wanted, Path(box, f"{source.stem}.int8.onnx"), progress=progress)
            files["int8"] = _Candidate(small.path, _agreement_of(small.manifest))
        except ParityError as error:
            refused.append(f"int8 failed {', '.join(error.failed)}: {_agreement_in(error.parity.checks)}")
        if multiplies_in_bf16():
            progress("checking the decisions with products in bfloat16")
            parity = _in_bf16(wanted)
            if parity.passed:
                files[BF16] = _Candidate(source, _agreement_in(parity.checks), "cpu,bf16")
            else:
                refused.append(f"{BF16} failed {', '.join(parity.failed)}: {_agreement_in(parity.checks)}")
        tried = _measure(files, request.batch_sizes, request.seconds, progress)
        best = best_of(tried, request.goal)
        _write(files[best.precision].path, best, request.goal, path)
    return Tuned(output, tuple(tried), best, tuple(refused))


def best_of(tried: Sequence[Tried], goal: Goal) -> Tried:
    """The shortest time, at the smallest batch tried; or the most images per second."""
    if goal == "throughput":
        return max(tried, key=lambda row: row.images_per_second)
    least = min(row.batch_size for row in tried)
    return min((row for row in tried if row.batch_size == least), key=lambda row: row.ms)


def _measure(
    files: dict[str, _Candidate], batch_sizes: Sequence[int], seconds: float, progress: Progress
) -> list[Tried]:
    """All settings, round by round, so that a busy moment of the machine does not hit one alone; the quickest round of
    each counts.
    """
    cpus = available_cpus()
    settings = list(product(files, sorted({1, max(1, cpus // 2), cpus}), sorted(set(batch_sizes))))
    found: dict[tuple[str, int, int], float] = {}
    for number in range(ROUNDS):
        progress(f"round {number + 1} of {ROUNDS}: {len(settings)} settings")
        for precision, threads, batch_size in settings:
            ms = _time(files[precision], threads, batch_size, seconds)
            found[precision, threads, batch_size] = min(ms, found.get((precision, threads, batch_size), ms))
    return [
        Tried(name, files[name].agreement, threads, batch_size, ms, files[name].device)
        for (name, threads, batch_size), ms in found.items()
    ]


def multiplies_in_bf16() -> bool:
    """Whether ONNX Runtime can do the products of a float32 network in bfloat16 here: on ARM, with BF16."""
    return bf16_problem() is None and "bf16" in features()


def _in_bf16(request: QuantizeRequest) -> Parity:
    """The verdict on the float32 file itself, with its products in bfloat16: its decisions against those in float32."""
    exact, fast = (Classifier(request.source, device=device) for device in ("cpu", "cpu,bf16"))
    return judge(request, exact, fast, check_structure(request.source), (), None)[0]


def _time(candidate: _Candidate, threads: int, batch_size: int, seconds: float) -> float:
    classifier = Classifier(candidate.path, device=candidate.device, threads=threads)
    shape = classifier.example(batch_size).shape
    batch = np.random.default_rng(0).standard_normal(shape, dtype=np.float32)
    return summary(time_calls(lambda: classifier.run(batch), seconds)).p50_ms


def _write(source: Path, best: Tried, goal: Goal, path: Path) -> None:
    artifact = read_artifact(source)
    recommended = Recommended(
        goal=goal,
        threads=best.threads,
        batch_size=best.batch_size,
        ms=best.ms,
        processor=machine().processor,
        device=best.device,
    )
    layers = layers_from_json(artifact.file.metadata.get(LAYERS_KEY, "[]"))
    manifest, evidence = replace(artifact.manifest, recommended=recommended), artifact.file.metadata.get(Evidence.KEY)
    write_sealed(onnx.load(source), manifest, layers, path, evidence)


def _agreement_of(manifest: Manifest) -> str:
    return _agreement_in(manifest.parity.checks if manifest.parity is not None else ())


def _agreement_in(checks: Sequence[Check]) -> str:
    return next((check.detail.removeprefix("same top-1 on ") for check in checks if check.name == "decision"), "")
