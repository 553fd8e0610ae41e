"""The comparison: a row for each model, and where each figure comes from. Tables, charts, pages and the JSON are made
of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torchless.codec import decode, encode
from torchless.doctor.machine import Machine
from torchless.timing import Timing, summary
from torchless_export.compare.families import family_of
from torchless_export.compare.measure import BATCH_SIZE, Sample
from torchless_export.compare.request import Settings
from torchless_export.compare.rounds import Measured
from torchless_export.compare.subjects import Subject

Where = Literal["cpu", "gpu"]


@dataclass(frozen=True, kw_only=True)
class Errors:
    """Top-1 and top-5 error in percent. `source` is "published" for torchvision's figures of the weights `of`,
    "measured" for our own on the data `of`, over `images` images; then `low` and `high` are the ends of the 95 %
    interval, and `unreadable` images count in no figure. `top5` is None for a model of five classes or fewer.
    """

    source: Literal["published", "measured"]
    of: str
    top1: float
    top5: float | None
    top1_low: float | None = None
    top1_high: float | None = None
    top5_low: float | None = None
    top5_high: float | None = None
    images: int | None = None
    unreadable: int = 0


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Forward passes on one device: of one image, and of BATCH_SIZE as `images_per_second`.

    `low_ms` and `high_ms` are the lowest and the highest median of any round: how unsteady the machine is.
    """

    single: Timing
    low_ms: float
    high_ms: float
    images_per_second: float
    rounds: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One model. `weights` is None for random ones; then `errors` are those published for other weights, named there.
    `no_errors` says why there are none. `gflops` are those torchvision publishes, for one image. `peak_bytes` is of a
    process that answers one image at a time.
    """

    model: str
    architecture: str
    family: str
    file: str
    sha256: str
    weights: str | None
    size_bytes: int
    parameters: int | None
    gflops: float | None
    image_size: int
    errors: Errors | None
    no_errors: str | None
    decode: Timing
    preprocess: Timing
    cpu: Speed | None
    gpu: Speed | None
    peak_bytes: int | None

    @property
    def size_mb(self) -> float:
        """In units of 10⁶ bytes."""
        return self.size_bytes / 1e6

    def speed(self, where: Where) -> Speed | None:
        """On that device."""
        return self.cpu if where == "cpu" else self.gpu


@dataclass(frozen=True, kw_only=True)
class Elsewhere:
    """The other machine that the GPU times come from: what it is, what it measured with, and when. `file` held them;
    `notes` has a line for each model that was not measured there, or not as it is here.
    """

    file: str
    machine: Machine
    versions: dict[str, str]
    date: str
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that is shown. `no_gpu` says why nothing was measured on a GPU; `failures` has a line for each model
    left out; `date` is the day, or the first and the last day, of the measurements. The GPU times are from `elsewhere`
    if it is there, else from `machine` like all else.
    """

    rows: tuple[Row, ...]
    failures: tuple[str, ...]
    machine: Machine
    versions: dict[str, str]
    threads: int
    rounds: int
    seconds: float
    no_gpu: str | None
    date: str
    elsewhere: Elsewhere | None = None

    def errors_caption(self) -> str:
        """A sentence for below a table or a chart: where the errors come from."""
        found = [row.errors for row in self.rows if row.errors is not None]
        if not found:
            return "No errors are known."
        names = " or ".join(dict.fromkeys(errors.of for errors in found))
        if found[0].source == "published":
            return f"Errors published by torchvision for {names}."
        unreadable = f"; {found[0].unreadable:,} more could not be read" if found[0].unreadable else ""
        return f"Errors measured on {names}: {found[0].images:,} images{unreadable}; with 95 % intervals."

    def times_caption(self, where: Where) -> str:
        """A sentence for below a table or a chart: what the times hold for, or why there are none."""
        if not self.measured(where):
            return f"No times on the {where.upper()}: {self.no_gpu if where == 'gpu' else 'it was not asked for'}."
        threads = f"{_threads(self.threads)}, " if where == "cpu" else ""
        source = self.elsewhere if where == "gpu" and self.elsewhere is not None else self
        return (
            f"{where.upper()} times measured on {source.date} on {'another machine, ' * (source is not self)}"
            f"{source.machine}; {threads}onnxruntime {source.versions['onnxruntime']}."
        )

    def notes(self) -> tuple[str, ...]:
        """Lines about models whose GPU times are missing, or are of another file."""
        return tuple(f"GPU times of {note}" for note in self.elsewhere.notes) if self.elsewhere is not None else ()

    def measured(self, where: Where) -> tuple[Row, ...]:
        """The rows with times on that device."""
        return tuple(row for row in self.rows if row.speed(where) is not None)

    def to_dict(self) -> dict[str, Any]:
        """What comparison.json holds."""
        document: dict[str, Any] = encode(self)
        return document

    @classmethod
    def from_dict(cls, document: Any) -> "Comparison":
        """The inverse of to_dict. Raises ManifestError that names the field."""
        comparison: Comparison = decode(cls, document, "comparison")
        return comparison


def _threads(count: int) -> str:
    return f"{count} thread{'s' * (count != 1)}"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What is known about a model without measuring its speed."""

    errors: Errors | None
    no_errors: str | None
    gflops: float | None


def make_comparison(
    subjects: Sequence[Subject], measured: Measured, figures: dict[str, Figures], settings: Settings
) -> Comparison:
    """One row per subject, in the order of `subjects`; those that failed are left out."""
    rows = tuple(
        _row(subject, measured, figures[subject.name]) for subject in subjects if subject.name not in measured.failures
    )
    return Comparison(
        rows=rows,
        failures=tuple(f"{name}: {why}" for name, why in measured.failures.items()),
        machine=measured.machine,
        versions=measured.versions,
        threads=measured.threads,
        rounds=settings.rounds,
        seconds=settings.seconds,
        no_gpu=measured.devices.no_gpu,
        date=" to ".join(dict.fromkeys((measured.days[0], measured.days[-1]))),
    )


def _row(subject: Subject, measured: Measured, figures: Figures) -> Row:
    devices, manifest = measured.devices, subject.manifest
    cpu, gpu = (
        measured.rounds.get((subject.name, device), ()) if device is not None else ()
        for device in (devices.cpu, devices.gpu)
    )
    return Row(
        model=subject.name,
        architecture=manifest.model.name,
        family=family_of(manifest.model.name).name,
        file=subject.path.name,
        sha256=subject.sha256,
        weights=manifest.model.checkpoint or manifest.model.weights,
        size_bytes=subject.size_bytes,
        parameters=manifest.model.num_params,
        gflops=figures.gflops,
        image_size=max(manifest.image_size),
        errors=figures.errors,
        no_errors=figures.no_errors,
        decode=summary([value for sample in cpu or gpu for value in sample.decode_ms]),
        preprocess=summary([value for sample in cpu or gpu for value in sample.preprocess_ms]),
        cpu=speed_of(cpu),
        gpu=speed_of(gpu),
        peak_bytes=max((sample.peak_bytes for sample in cpu), default=None),
    )


def speed_of(samples: tuple[Sample, ...]) -> Speed | None:
    """Of all rounds of a model on one device; None if there are none."""
    if not samples:
        return None
    medians = [summary(sample.single_ms).p50_ms for sample in samples]
    batch = summary([value for sample in samples for value in sample.batch_ms])
    return Speed(
        single=summary([value for sample in samples for value in sample.single_ms]),
        low_ms=min(medians),
        high_ms=max(medians),
        images_per_second=1000 * BATCH_SIZE / batch.p50_ms,
        rounds=len(samples),
    )
