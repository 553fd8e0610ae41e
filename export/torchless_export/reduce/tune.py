"""tune: which precision, how many threads and which batch size are fastest here, among files that decide as the float32 one does."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import onnx

from torchless.cpus import available_cpus
from torchless.doctor.machine import machine
from torchless.engine.classifier import Classifier
from torchless.model.artifact import read_artifact
from torchless.model.inspection import LAYERS_KEY, layers_from_json
from torchless.model.manifest import Check, Manifest, Recommended
from torchless.text import columns
from torchless.timing import summary, time_calls
from torchless_export.convert.write import staged, write_sealed
from torchless_export.errors import ParityError
from torchless_export.reduce.images import Images
from torchless_export.reduce.reduce import ReduceRequest, reduce_model

Goal = Literal["latency", "throughput"]
Report = Callable[[str], None]
ROUNDS = 3


@dataclass(frozen=True)
class Tried:
    """A file at one setting: milliseconds of a forward pass, by the median of its quickest round, and images per second."""

    precision: str
    agreement: str
    threads: int
    batch_size: int
    ms: float

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


def tune(
    source: Path,
    images: Images,
    output: Path,
    *,
    min_agreement: float,
    goal: Goal = "latency",
    batch_sizes: Sequence[int] = (1, 8),
    seconds: float = 0.3,
    report: Report = lambda _: None,
) -> Tuned:
    """Makes the int8 file of `source`, measures both files on the CPU, and writes the faster one to `output`, with the best settings inside.

    "latency" wants one image soonest, "throughput" most images a second. A file that fails its gate is in `refused`, with what failed. Raises
    UsageError and ArtifactError as reduce_model does.
    """
    refused: list[str] = []
    with tempfile.TemporaryDirectory() as box, staged(output) as path:
        files = {"fp32": (source, "–")}
        request = ReduceRequest(source=source, precision="int8", images=images, min_agreement=min_agreement, force=True)
        try:
            small = reduce_model(request, Path(box, f"{source.stem}.int8.onnx"), report=report)
            files["int8"] = (small.path, _agreement_of(small.manifest))
        except ParityError as error:
            refused.append(f"int8 failed {', '.join(error.failed)}: {_agreement_in(error.parity.checks)}")
        tried = _measure(files, batch_sizes, seconds, report)
        best = best_of(tried, goal)
        _write(files[best.precision][0], best, goal, path)
    return Tuned(output, tuple(tried), best, tuple(refused))


def best_of(tried: Sequence[Tried], goal: Goal) -> Tried:
    """The one that answers soonest, at the smallest batch tried, or that does most images a second."""
    if goal == "throughput":
        return max(tried, key=lambda row: row.images_per_second)
    least = min(row.batch_size for row in tried)
    return min((row for row in tried if row.batch_size == least), key=lambda row: row.ms)


def tuned_text(tuned: Tuned) -> str:
    """The table of what was tried, and the best."""
    rows = [("precision", "threads", "batch size", "ms", "images/s", "same top-1 as float32")]
    rows += [
        (row.precision, str(row.threads), str(row.batch_size), f"{row.ms:.2f}", f"{row.images_per_second:.1f}", row.agreement)
        for row in tuned.tried
    ]
    best = tuned.best
    found = (
        f"best: {best.precision}, --threads {best.threads} --batch-size {best.batch_size}; written to {tuned.path} with these settings inside"
    )
    return "\n".join([*columns(rows, "<>>>><"), *tuned.refused, found])


def _measure(files: dict[str, tuple[Path, str]], batch_sizes: Sequence[int], seconds: float, report: Report) -> list[Tried]:
    """Round by round all settings, so that a busy moment of the machine does not hit one alone; of each the quickest round counts."""
    cpus = available_cpus()
    settings = list(product(files, sorted({1, max(1, cpus // 2), cpus}), sorted(set(batch_sizes))))
    found: dict[tuple[str, int, int], float] = {}
    for number in range(ROUNDS):
        report(f"round {number + 1} of {ROUNDS}: {len(settings)} settings")
        for precision, threads, batch_size in settings:
            ms = _time(files[precision][0], threads, batch_size, seconds)
            found[precision, threads, batch_size] = min(ms, found.get((precision, threads, batch_size), ms))
    return [Tried(key[0], files[key[0]][1], key[1], key[2], ms) for key, ms in found.items()]


def _time(path: Path, threads: int, batch_size: int, seconds: float) -> float:
    classifier = Classifier(path, device="cpu", threads=threads)
    side = classifier.manifest.preprocess.crop_size
    batch = np.random.default_rng(0).standard_normal((batch_size, 3, side, side), dtype=np.float32)
    return summary(time_calls(lambda: classifier.run(batch), seconds)).p50_ms


def _write(source: Path, best: Tried, goal: Goal, path: Path) -> None:
    artifact = read_artifact(source)
    recommended = Recommended(goal=goal, threads=best.threads, batch_size=best.batch_size, ms=best.ms, processor=machine().processor)
    layers = layers_from_json(artifact.file.metadata.get(LAYERS_KEY, "[]"))
    write_sealed(onnx.load(source), replace(artifact.manifest, recommended=recommended), layers, path)


def _agreement_of(manifest: Manifest) -> str:
    return _agreement_in(manifest.parity.checks if manifest.parity is not None else ())


def _agreement_in(checks: Sequence[Check]) -> str:
    return next((check.detail.removeprefix("same top-1 on ") for check in checks if check.name == "decision"), "")
