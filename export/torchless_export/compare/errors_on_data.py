"""The errors of the artifacts themselves, on the user's own labelled images."""

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

from torchless.batch.stamps import stamp_of
from torchless.codec import decode, encode
from torchless.doctor.machine import machine, versions
from torchless.engine.classifier import Classifier
from torchless.engine.results import Input
from torchless.evaluate.dataset import Dataset, read_dataset
from torchless.evaluate.run import evaluate
from torchless.evaluate.tally import Evaluation
from torchless_export.compare.comparison import Errors
from torchless_export.compare.measurements import Measurements
from torchless_export.compare.subjects import Progress, Subject


def measure_errors(
    subjects: Sequence[Subject],
    data: str,
    kept: Measurements,
    *,
    class_map: Path | None = None,
    limit: int | None = None,
    device: str = "auto",
    progress: Progress = lambda _: None,
) -> dict[str, Errors]:
    """By the subject's name. Those that `kept` has already are not evaluated again, and untrained ones are left out.

    Raises what read_dataset and evaluate raise, before the first evaluation if the data is not for one of the models.
    """
    trained = [subject for subject in subjects if subject.manifest.is_trained]
    datasets = {
        s.name: read_dataset(data, labels=s.manifest.labels, class_map=class_map).sample(limit) for s in trained
    }
    for line in next(iter(datasets.values())).passed_over.lines() if datasets else ():
        progress(line)
    found: dict[str, Errors] = {}
    for number, subject in enumerate(trained, start=1):
        dataset = datasets[subject.name]
        run = {
            "model": subject.manifest.model.name,
            "sha256": subject.sha256,
            "machine": encode(machine()),  # int8 adds up otherwise without VNNI
            "versions": versions(),
            "data": data,
            "images": _digest(dataset),
        }
        kept_errors = kept.errors(run)
        if kept_errors is None:
            progress(f"evaluating {subject.name} ({number} of {len(trained)}) on {len(dataset):,} images")
            errors = _errors(evaluate(Classifier(subject.path, device=device), dataset), data)
            kept.set_errors(run, encode(errors))
            found[subject.name] = errors
        else:
            found[subject.name] = decode(Errors, kept_errors, f"{kept.path}: errors")
    return found


def _digest(dataset: Dataset) -> str:
    """Of the names and the classes of the images, and of what changes when one is replaced."""
    lines = "\n".join(
        f"{example.target} {stamp_of(Input(example.name, example.name))} {example.name}" for example in dataset
    )
    return sha256(lines.encode(errors="surrogateescape")).hexdigest()


def _errors(evaluation: Evaluation, data: str) -> Errors:
    """Shares in 0..1 to percent."""
    top1, top5 = evaluation.top1_error, evaluation.top5_error
    return Errors(
        source="measured",
        of=data,
        top1=100 * top1.value,
        top5=100 * top5.value if top5 is not None else None,
        top1_low=100 * top1.low,
        top1_high=100 * top1.high,
        top5_low=100 * top5.low if top5 is not None else None,
        top5_high=100 * top5.high if top5 is not None else None,
        images=evaluation.images,
        unreadable=len(evaluation.failed),
    )
