"""One round of one model, in a process of its own:
python -m torchless_export.compare.measure '{"model": "resnet50.onnx", …}'.

So no model gains or suffers from the memory, the threads and the caches of the one before it, and its peak memory is
its own.
"""

import json
import subprocess
import sys
from dataclasses import dataclass

import numpy as np

from torchless.bench import made_up_jpeg
from torchless.codec import decode, encode, loads
from torchless.engine.classifier import Classifier
from torchless.errors import DeviceError, TorchlessError
from torchless.timing import peak_memory, time_calls

BATCH_SIZE = 8


@dataclass(frozen=True, kw_only=True)
class Task:
    """What to measure: `model` is a file, `device` "cpu" or "cuda:N", `seconds` the time for single images; everything
    else takes a share of it.
    """

    model: str
    device: str
    threads: int | None
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The milliseconds of each call of one round: decoding and preprocessing an image, a forward pass of one image, and
    of BATCH_SIZE.

    `peak_bytes` is the most memory that the process held while it answered one image at a time.
    """

    decode_ms: tuple[float, ...]
    preprocess_ms: tuple[float, ...]
    single_ms: tuple[float, ...]
    batch_ms: tuple[float, ...]
    peak_bytes: int


def measure(task: Task) -> Sample:
    """In this process. Raises what Classifier raises."""
    data = made_up_jpeg()
    classifier = Classifier(task.model, device=task.device, threads=task.threads)
    rgb = classifier.decode(data)
    image = classifier.prepare(rgb)[np.newaxis]
    single = time_calls(lambda: classifier.run(image), task.seconds)
    peak = peak_memory()
    batch = np.repeat(image, BATCH_SIZE, axis=0)
    return Sample(
        decode_ms=_rounded(time_calls(lambda: classifier.decode(data), task.seconds / 10)),
        preprocess_ms=_rounded(time_calls(lambda: classifier.prepare(rgb), task.seconds / 10)),
        single_ms=_rounded(single),
        batch_ms=_rounded(time_calls(lambda: classifier.run(batch), task.seconds, warm_up=1, least=3)),
        peak_bytes=peak,
    )


def measure_in_process(task: Task) -> Sample:
    """In a new process. Raises DeviceError or TorchlessError with its message if it fails."""
    command = [sys.executable, "-m", __name__, json.dumps(encode(task))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        sample: Sample = decode(Sample, loads(done.stdout, "what the process answered"), "sample")
        return sample
    said = (done.stderr.strip().splitlines() or [_how_it_ended(done.returncode)])[-1]
    kind = DeviceError if done.returncode == DeviceError.exit_code else TorchlessError
    raise kind(f"{task.model} cannot be measured: {said}")


def _how_it_ended(code: int) -> str:
    return (
        f"its process was ended by signal {-code}" + " (out of memory?)" * (code == -9)
        if code < 0
        else f"its process ended with code {code}"
    )


def _rounded(times: list[float]) -> tuple[float, ...]:
    """To a tenth of a microsecond: the clock is no finer, and the file stays small."""
    return tuple(round(value, 4) for value in times)


def main() -> None:
    """Prints the sample as JSON; an error is one line on stderr, and its exit code."""
    try:
        sample = measure(decode(Task, loads(sys.argv[1], "the task"), "task"))
    except TorchlessError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(error.exit_code)
    sys.stdout.write(json.dumps(encode(sample)))


if __name__ == "__main__":
    main()
