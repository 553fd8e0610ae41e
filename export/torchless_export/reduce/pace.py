"""Whether a file of lower precision pays: its size and its time for one image on this machine, against those of the
float32 file.
"""

from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from torchless.doctor.machine import machine
from torchless.engine.classifier import Classifier
from torchless.model.manifest import Pace
from torchless.text import megabytes
from torchless.timing import time_calls

ROUNDS, SECONDS = 6, 0.2


def measure_pace(source: Path, path: Path, *, threads: int | None = None) -> Pace:
    """One image, again and again, the two files in turn; on the CPU, with all processors that this process may use.

    The median of the fastest round counts for each file: other work on the machine can only add time.
    """
    classifiers = {path: Classifier(path, device="cpu", threads=threads) for path in (source, path)}
    found: dict[Path, list[float]] = {path: [] for path in classifiers}
    for _ in range(ROUNDS):
        for each, classifier in classifiers.items():
            image = np.random.default_rng(0).standard_normal(classifier.example().shape, dtype=np.float32)
            found[each].append(median(time_calls(partial(classifier.run, image), SECONDS)))
    return Pace(
        float_ms=min(found[source]),
        ms=min(found[path]),
        float_bytes=source.stat().st_size,
        bytes=path.stat().st_size,
        threads=classifiers[path].threads,
        processor=machine().processor,
    )


def pays(pace: Pace) -> bool:
    """Smaller and faster."""
    return pace.bytes < pace.float_bytes and pace.ms < pace.float_ms


def pace_text(pace: Pace) -> str:
    """Both figures, in words."""
    size = f"{megabytes(pace.bytes)} for {megabytes(pace.float_bytes)} ({pace.bytes / pace.float_bytes:.2f} ×)"
    time = f"{pace.ms:.2f} ms per image for {pace.float_ms:.2f} ms ({pace.float_ms / pace.ms:.2f} × as fast)"
    return f"{size}, {time}, {pace.threads} thread{'s' * (pace.threads > 1)} of {pace.processor}"
