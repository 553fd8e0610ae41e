"""How fast a model is on this machine: each stage separately, forward passes and whole folders for various settings,
cold start and memory.

Everything is measured at once, after a warm-up; nothing comes from a table. Times of single calls are given as their
median (p50) and 95th percentile (p95).
"""

import io
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import islice, repeat
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from torchless.codec import encode
from torchless.cpus import available_cpus
from torchless.engine.classifier import Classifier
from torchless.engine.options import ModelOptions
from torchless.errors import ImageReadError, TorchlessError, UsageError
from torchless.files import reading
from torchless.records import dataclass
from torchless.timing import LEAST_CALLS, WARM_UP_CALLS, Timing, summary, time_calls

_ROUNDS, _STARTS = 3, 5


@dataclass(frozen=True)
class Forward:
    """Forward passes only, one after the other, of `batch_size` preprocessed images each."""

    threads: int
    batch_size: int
    timing: Timing
    images_per_second: float


@dataclass(frozen=True)
class Folder:
    """From image files to predictions, as `infer` does it for many: the median of several rounds."""

    workers: int
    threads: int
    batch_size: int
    images_per_second: float


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """All that was measured. Memory is the most that the process of one `infer` command held at once (resident set), in
    bytes.

    `assignment` says how many nodes run on the device, None where that is the CPU; `warnings` are
    sentences to read before trusting the model (ModelOptions.open_with_warnings).
    """

    model: str
    device: str
    assignment: str | None
    warnings: tuple[str, ...]
    cpus: int
    image: str
    decode: Timing
    preprocess: Timing
    forward: tuple[Forward, ...]
    folder: tuple[Folder, ...]
    cold_start: Timing
    cold_start_peak_bytes: int

    @property
    def quickest(self) -> Forward:
        """The setting with the lowest latency for one image, or for the smallest batch tried."""
        smallest = min(row.batch_size for row in self.forward)
        return min((row for row in self.forward if row.batch_size == smallest), key=lambda row: row.timing.p50_ms)

    @property
    def best(self) -> Folder:
        """The setting with the highest throughput."""
        return max(self.folder, key=lambda row: row.images_per_second)

    def to_dict(self) -> dict[str, Any]:
        """What its JSON holds."""
        return dict(encode(self)) | {"quickest": encode(self.quickest), "best": encode(self.best)}


def bench_model(
    model: str | PathLike[str],
    *,
    opening: ModelOptions = ModelOptions(),
    image: Path | None = None,
    batch_sizes: Sequence[int] = (),
    threads: Sequence[int] = (),
    workers: Sequence[int] = (),
    seconds: float = 1.0,
    infer_flags: Sequence[str] = (),
) -> BenchResult:
    """Measures `model`, opened as `opening` says, with an image file, by default a generated JPEG of 500×375 pixels,
    for about `seconds` a setting. The cold start is that of the command `infer`, which takes `infer_flags` to open the
    model so.

    By default batches of 1 and 8; threads 1, half and all of this process's processors; and for each, one worker and as
    many as fill them. Raises what Classifier raises, ImageError for the image, and UsageError for numbers below 1.
    """
    cpus = available_cpus()
    _check_numbers(batch_sizes, threads, workers, seconds)
    data, described = _read_image(image) if image is not None else (made_up_jpeg(), "generated JPEG")
    forward: list[Forward] = []
    folder: list[Folder] = []
    for count in sorted(set(threads or (1, max(1, cpus // 2), cpus))):
        classifier, warnings = replace(opening, threads=count).open_with_warnings(model)
        for batch_size in sorted(set(batch_sizes or (1, 8))):
            forward.append(_forward(classifier, data, batch_size, seconds))
            folder += [
                _folder(classifier, data, batch_size, crew, seconds)
                for crew in sorted(set(workers or (1, max(1, cpus - count + 1))))
            ]
    rgb = classifier.decode(data)
    cold_start, peak_bytes = _cold_start(model, data, infer_flags)
    return BenchResult(
        model=str(model),
        device=classifier.device,
        assignment=str(classifier.assignment) if classifier.assignment is not None else None,
        warnings=warnings,
        cpus=cpus,
        image=f"{described}, {rgb.width}×{rgb.height} as decoded, {len(data) / 1000:.0f} kB",
        decode=_time(lambda: classifier.decode(data), seconds),
        preprocess=_time(lambda: classifier.prepare(rgb), seconds),
        forward=tuple(forward),
        folder=tuple(folder),
        cold_start=cold_start,
        cold_start_peak_bytes=peak_bytes,
    )


def _check_numbers(batch_sizes: Sequence[int], threads: Sequence[int], workers: Sequence[int], seconds: float) -> None:
    if min([*batch_sizes, *threads, *workers], default=1) < 1:
        raise UsageError("`batch_size`, `threads` and `workers` must be at least 1")
    if not 0 < seconds < float("inf"):
        raise UsageError(f"seconds must be above 0, got {seconds}")


def _read_image(path: Path) -> tuple[bytes, str]:
    with reading(path, ImageReadError):
        return path.read_bytes(), str(path)


def made_up_jpeg(seed: int = 0) -> bytes:
    """A JPEG as large and detailed as a photo of ImageNet: smooth shapes, edges and a little noise. Each seed gives
    another picture.
    """
    chance = np.random.default_rng(seed)
    shapes = Image.fromarray(chance.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
        (500, 375), Image.Resampling.BICUBIC
    )
    noisy = np.asarray(shapes) + chance.normal(0, 6, (375, 500, 3))
    buffer = io.BytesIO()
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def _forward(classifier: Classifier, data: bytes, batch_size: int, seconds: float) -> Forward:
    batch = np.stack([classifier.preprocess(data)] * batch_size)
    timing = _time(lambda: classifier.run(batch), seconds)
    return Forward(classifier.threads, batch_size, timing, 1000 * batch_size / timing.p50_ms)


def _folder(classifier: Classifier, data: bytes, batch_size: int, workers: int, seconds: float) -> Folder:
    rates = [_rate(classifier, data, batch_size, workers, seconds / _ROUNDS) for _ in range(_ROUNDS)]
    return Folder(workers, classifier.threads, batch_size, statistics.median(rates))


def _rate(classifier: Classifier, data: bytes, batch_size: int, workers: int, seconds: float) -> float:
    """Images per second, once every worker is busy."""
    results = classifier.classify_many(repeat(data), batch_size=batch_size, workers=workers)
    failed = [
        result.error for result in islice(results, WARM_UP_CALLS * workers * batch_size) if result.error is not None
    ]
    if failed:
        raise TorchlessError(f"nothing to measure: {failed[0]}")
    done, start = 0, time.perf_counter()
    while done < LEAST_CALLS * batch_size or time.perf_counter() - start < seconds:
        next(results)
        done += 1
    return done / (time.perf_counter() - start)


def _time(call: Callable[[], object], seconds: float) -> Timing:
    return summary(time_calls(call, seconds))


_INFER = "from torchless.cli.start import infer_main; infer_main()"
_INFER_AND_TELL_PEAK = f"""
import atexit, sys
from torchless.timing import peak_memory
atexit.register(lambda: print(peak_memory(), file=sys.stderr))
{_INFER}
"""


def _cold_start(model: str | PathLike[str], data: bytes, flags: Sequence[str]) -> tuple[Timing, int]:
    """`infer MODEL IMAGE` in a process of its own: its time from start to end, and the most memory, in bytes, that it
    held.
    """
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder, "image")
        image.write_bytes(data)
        arguments = [str(model), str(image), *flags]
        times = []
        for _ in range(1 + _STARTS):
            start = time.perf_counter()
            subprocess.run([sys.executable, "-c", _INFER, *arguments], check=True, capture_output=True)
            times.append(1000 * (time.perf_counter() - start))
        told = subprocess.run(
            [sys.executable, "-c", _INFER_AND_TELL_PEAK, *arguments], check=True, capture_output=True, text=True
        ).stderr
    return summary(times[1:]), int(told.splitlines()[-1])
