"""The work of `infer`: images → predictions, written as they come."""

import contextlib
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from torchless.artifact import Description
from torchless.classifier import Classifier
from torchless.errors import ArtifactError, UsageError
from torchless.images import Decode, ImageOptions, take_pillow_over
from torchless.inputs import check, count, expand
from torchless.job import Outcome, no_bar, run_job, run_job_with_journal
from torchless.outputs import Format, check_format, choose_format
from torchless.plan import make_plan
from torchless.program import INTERRUPTED, tell
from torchless.session import import_onnxruntime

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchless.inputs import Input
    from torchless.manifest import Manifest
    from torchless.plan import Plan


@dataclass(frozen=True, kw_only=True)
class InferOptions:
    """What `infer` was asked for; the command line's options by their names, and their defaults."""

    model: Path
    images: tuple[str, ...]
    top_k: int = 5
    format: Format | None = None
    output: Path | None = None
    resume: bool = False
    recursive: bool = False
    device: str = "auto"
    threads: int | None = None
    workers: int | None = None
    batch_size: int = 1
    labels: Path | None = None
    exif: bool = True
    decode: Decode = "exact"
    max_megapixels: float = 100
    manifest: Path | None = None
    description: Description = field(default_factory=Description)


def infer(options: InferOptions) -> int:
    """Classifies the images and writes a row for each; gives the exit code: 0, 1 when an image failed, 130 after Ctrl-C.

    Raises UsageError, ArtifactError or DeviceError before any image is looked at.
    """
    labels = _labels(options.labels)
    format = choose_format(options.format, options.output)
    check_format(format, options.output)
    check(options.images)
    if options.resume and (options.output is None or "-" in options.images):
        raise UsageError("--resume needs --output FILE, and no image from standard input")
    inputs, known, plan = _plan(options)
    import_onnxruntime()  # now, since the next line's thread would take Python's lock from it time and again
    doubts = _Doubts(options.model)
    classifier = Classifier(
        options.model,
        device=options.device,
        threads=plan.threads,
        labels=labels,
        manifest=_manifest(options.manifest),
        description=replace(options.description, labels=labels),
        image_options=ImageOptions(apply_exif=options.exif, max_pixels=int(options.max_megapixels * 1e6), decode=options.decode),
    )
    take_pillow_over(plan.workers)
    _tell_beforehand(classifier, options.device, plan.workers, doubts)
    return _tell_outcome(_classify(options, classifier, inputs, known, plan, format))


def _classify(options: InferOptions, classifier: Classifier, inputs: "Iterator[Input]", known: int, plan: "Plan", format: Format) -> Outcome:
    """The job, with a progress bar and a journal where there are several images to wait for, or to lose."""
    classify = partial(classifier.classify_many, batch_size=options.batch_size, top_k=options.top_k, workers=plan.workers)
    bar, output = no_bar, options.output
    if known > 1:
        from torchless.progress import is_wanted, progress_bar

        if is_wanted(output):
            bar = partial(progress_bar, count(options.images, recursive=options.recursive))
    if output is not None:
        from torchless.journal import journal_path

        if options.resume or (known > 1 and journal_path(output) is not None):
            run = _run_identity(classifier, options)
            return run_job_with_journal(classify, inputs, format=format, output=output, bar=bar, run=run, resume=options.resume)
    return run_job(classify, inputs, format=format, output=output, bar=bar)


def _plan(options: InferOptions) -> tuple["Iterator[Input]", int, "Plan"]:
    """The stream of inputs, looked into just so far as the plan for them depends on how many there are; and how many those are."""
    from itertools import chain, islice

    from torchless.cpus import available_cpus

    inputs = expand(options.images, recursive=options.recursive)
    first = list(islice(inputs, options.batch_size * max(2, options.workers or available_cpus())))
    plan = make_plan(-(-len(first) // options.batch_size), workers=options.workers, threads=options.threads)
    return chain(first, inputs), len(first), plan


def _run_identity(classifier: Classifier, options: InferOptions) -> dict[str, object]:
    """What the rows of a resumed run must have in common, each by the name a user knows it by."""
    from hashlib import sha256

    from torchless.artifact import sha256_of

    described = {"the manifest": classifier.manifest.to_json(), "--labels": "\n".join(classifier.labels)}
    run: dict[str, object] = {"the model": sha256_of(options.model)}
    run |= {name: sha256(text.encode()).hexdigest() for name, text in described.items()}
    run |= {"--top-k": options.top_k, "--decode": options.decode, "--exif": options.exif, "--max-megapixels": options.max_megapixels}
    return run


def _tell_outcome(outcome: Outcome) -> int:
    """The exit code that says how the images fared."""
    if outcome.interrupted:
        kept = f", and kept in {outcome.kept_in}: the same command with --resume goes on from there" if outcome.kept_in else ""
        tell(f"interrupted: {outcome.rows} images are done{kept}")
        return INTERRUPTED
    return int(outcome.failed > 0)


class _Doubts(threading.Thread):
    """Reads the whole model file for its seal while ONNX Runtime loads it, so that a cold start does not take longer for it."""

    def __init__(self, model: Path) -> None:
        super().__init__(daemon=True)
        self._model = model
        self._found: tuple[str, ...] = ()
        self.start()

    def run(self) -> None:
        from torchless.artifact import manifest_of
        from torchless.graph import read_onnx
        from torchless.trust import check_seal, doubts

        with contextlib.suppress(ArtifactError):  # Classifier meets the same one, and says so
            file = read_onnx(self._model, with_graph=False)
            manifest = manifest_of(file)
            self._found = doubts(file, manifest, check_seal(file)) if manifest is not None else ()

    def found(self) -> tuple[str, ...]:
        """None for a file without a manifest: whoever describes a file by hand knows that nobody has proved it."""
        self.join()
        return self._found


def _tell_beforehand(classifier: Classifier, device: str, workers: int, doubts: _Doubts) -> None:
    if device == "auto":
        reason = f"; the GPU cannot be used: {classifier.device_note}" if classifier.device_note else ""
        threads = f", {classifier.threads} thread{'s' * (classifier.threads > 1)}" if classifier.device == "cpu" else ""
        shared = f", {workers} workers" if workers > 1 else ""
        tell(f"device: {classifier.device}{shared}{threads}{reason}")
    if not classifier.manifest.is_trained:
        from torchless.report import UNTRAINED

        tell(f"warning: {classifier.manifest.model.name} is {UNTRAINED}")
    for doubt in doubts.found():
        tell(f"warning: {doubt}")


def _labels(path: Path | None) -> tuple[str, ...] | None:
    if path is None:
        return None
    from torchless.labels import read_labels

    return read_labels(path)


def _manifest(path: Path | None) -> "Manifest | None":
    if path is None:
        return None
    from torchless.manifest import Manifest

    try:
        return Manifest.from_json(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, ArtifactError) as error:
        raise UsageError(f"cannot read --manifest {path}: {error}") from None
