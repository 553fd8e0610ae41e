"""Rounds: every model once, then every model once again. A disturbance of the machine hits all models, not a single
one.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from torchless.codec import encode
from torchless.cpus import available_cpus
from torchless.doctor.machine import Machine, machine, versions
from torchless.engine import cuda
from torchless.engine.devices import parse_device
from torchless.engine.loading import import_onnxruntime
from torchless.errors import DeviceError, TorchlessError, UsageError
from torchless.timing import summary
from torchless_export.compare.measure import BATCH_SIZE, Sample, Task, measure_in_process
from torchless_export.compare.measurements import Measurements, Run
from torchless_export.compare.request import Settings
from torchless_export.compare.subjects import Progress, Subject

Measure = Callable[[Task], Sample]


@dataclass(frozen=True, kw_only=True)
class Devices:
    """Where to measure; None means not there, and `no_gpu` says why there is no GPU."""

    cpu: str | None
    gpu: str | None
    no_gpu: str | None


def choose_devices(device: str) -> Devices:
    """For "auto" the CPU, and the GPU if there is one; otherwise the one asked for. Raises DeviceError if that GPU
    cannot be used.
    """
    asked = parse_device(device)
    if asked.kind == "cpu":
        return Devices(cpu="cpu", gpu=None, no_gpu="not asked for")
    if asked.kind not in ("auto", "cuda"):
        raise UsageError(f"models are compared on the CPU and on NVIDIA GPUs, not on {device}")
    problem = cuda.problem_of(import_onnxruntime(), asked.index)
    if asked.kind == "cuda":
        if problem is not None:
            raise DeviceError(f"cannot use {device}: {problem}")
        return Devices(cpu=None, gpu=str(asked), no_gpu=None)
    return Devices(cpu="cpu", gpu="cuda:0" if problem is None else None, no_gpu=problem)


@dataclass(frozen=True, kw_only=True)
class Measured:
    """All rounds of each subject that could be measured, by its name and the device ("cpu" or "cuda:N"); and why the
    others could not. `days` are those of the rounds, in order.
    """

    rounds: dict[tuple[str, str], tuple[Sample, ...]]
    days: tuple[str, ...]
    failures: dict[str, str]
    devices: Devices
    machine: Machine
    versions: dict[str, str]
    threads: int


def measure_all(
    subjects: Sequence[Subject],
    settings: Settings,
    kept: Measurements,
    *,
    day: str,
    progress: Progress = lambda _: None,
    measure: Measure = measure_in_process,
) -> Measured:
    """Measures what `kept` does not hold yet. A model that fails is left out of the later rounds, and so is a GPU that
    was not asked for. `day` is today's date.

    Raises UsageError, and DeviceError for a GPU that was asked for.
    """
    state = _State(settings, kept, day, progress, measure)
    for number in range(settings.rounds):
        for subject in subjects if number % 2 == 0 else subjects[::-1]:
            for device in state.targets():
                state.measure_once(subject, device, number)
    runs = {(s.name, d): state.run_of(s, d) for s in subjects if s.name not in state.failures for d in state.targets()}
    return Measured(
        rounds={which: kept.rounds(run) for which, run in runs.items()},
        days=tuple(sorted({day for run in runs.values() for day in kept.days(run)})),
        failures=state.failures,
        devices=state.devices,
        machine=state.machine,
        versions=state.versions,
        threads=state.threads,
    )


class _State:
    def __init__(self, settings: Settings, kept: Measurements, day: str, progress: Progress, measure: Measure) -> None:
        self._settings, self._kept, self._day, self._progress, self._measure = settings, kept, day, progress, measure
        self.devices = choose_devices(settings.device)
        self.machine, self.versions = machine(gpu=self.devices.gpu is not None), versions()
        self.threads = min(settings.threads or available_cpus(), available_cpus())
        self.failures: dict[str, str] = {}

    def targets(self) -> list[str]:
        return [device for device in (self.devices.cpu, self.devices.gpu) if device is not None]

    def run_of(self, subject: Subject, device: str) -> Run:
        """What the rounds that belong together have in common."""
        return {
            "model": subject.manifest.model.name,
            "sha256": subject.sha256,
            "device": device,
            "threads": self.threads,
            "seconds": self._settings.seconds,
            "batch_size": BATCH_SIZE,
            "machine": encode(self.machine),
            "versions": self.versions,
        }

    def measure_once(self, subject: Subject, device: str, number: int) -> None:
        """Round `number`, from 0, unless it was measured before."""
        run = self.run_of(subject, device)
        if subject.name in self.failures or len(self._kept.rounds(run)) > number:
            return
        where = f"round {number + 1} of {self._settings.rounds}  {subject.name}  {device}"
        task = Task(model=str(subject.path), device=device, threads=self.threads, seconds=self._settings.seconds)
        try:
            sample = self._measure(task)
        except TorchlessError as error:
            self._progress(f"{where}  FAILED: {error}")
            self._note_failure(subject, error)
        else:
            about = {"trained": subject.manifest.is_trained, "state_sha256": subject.manifest.model.state_sha256}
            self._kept.add(run, sample, self._day, about)
            self._progress(f"{where}  {summary(sample.single_ms).p50_ms:.3g} ms")

    def _note_failure(self, subject: Subject, error: TorchlessError) -> None:
        if not isinstance(error, DeviceError):
            self.failures[subject.name] = str(error)
        elif self.devices.cpu is None:
            raise error
        else:  # the driver is there, but not all that ONNX Runtime needs beside it
            self.devices = replace(self.devices, gpu=None, no_gpu=str(error))
