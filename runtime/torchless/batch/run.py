"""The work of `infer`: images → predictions, written as they come."""

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchless.batch.inputs import check, count, expand
from torchless.batch.job import Outcome, no_bar, run_job, run_job_with_journal
from torchless.batch.outputs import Format, check_format, choose_format
from torchless.batch.preamble import Doubts, given_labels, given_manifest, run_identity, tell_beforehand
from torchless.engine.classifier import Classifier
from torchless.engine.plan import make_plan
from torchless.engine.session import import_onnxruntime
from torchless.errors import UsageError
from torchless.image.decode import Decode, ImageOptions, take_pillow_over
from torchless.model.artifact import Description
from torchless.process import INTERRUPTED, tell

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torchless.engine.plan import Plan
    from torchless.engine.results import Input


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
    require_signature: Path | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    part_size: int = 1000

    @property
    def image_options(self) -> ImageOptions:
        return ImageOptions(apply_exif=self.exif, max_pixels=int(self.max_megapixels * 1e6), decode=self.decode)

    @property
    def compared(self) -> dict[str, object]:
        """The options that a run and the one it goes on from must have in common, besides the model and its labels."""
        return {"--top-k": self.top_k, "--decode": self.decode, "--exif": self.exif, "--max-megapixels": self.max_megapixels}


def infer(options: InferOptions) -> int:
    """Classifies the images and writes a row for each; gives the exit code: 0, 1 when an image failed, 130 after Ctrl-C.

    Raises UsageError, ArtifactError or DeviceError before any image is looked at.
    """
    if options.address is not None:
        raise UsageError("--address is that of a Ray cluster: add --engine ray")
    labels = given_labels(options.labels)
    format = choose_format(options.format, options.output)
    check_format(format, options.output)
    check(options.images)
    if options.resume and (options.output is None or "-" in options.images):
        raise UsageError("--resume needs --output FILE, and no image from standard input")
    inputs, known, plan = _plan(options)
    import_onnxruntime()  # now, since the next line's thread would take Python's lock from it time and again
    doubts = Doubts(options.model) if options.require_signature is None else None
    classifier = Classifier(
        options.model,
        device=options.device,
        threads=plan.threads,
        labels=labels,
        manifest=given_manifest(options.manifest),
        description=replace(options.description, labels=labels),
        image_options=options.image_options,
        require_signature=options.require_signature,
    )
    take_pillow_over(plan.workers)
    tell_beforehand(classifier, options.device, plan.workers, doubts or Doubts(options.model, classifier.file))
    return tell_outcome(_classify(options, classifier, inputs, known, plan, format))


def _classify(options: InferOptions, classifier: Classifier, inputs: "Iterator[Input]", known: int, plan: "Plan", format: Format) -> Outcome:
    """The job, with a progress bar and a journal where there are several images to wait for, or to lose."""
    classify = partial(classifier.classify_many, batch_size=options.batch_size, top_k=options.top_k, workers=plan.workers)
    bar, output = no_bar, options.output
    if known > 1:
        from torchless.progress import is_wanted, progress_bar

        if is_wanted(output):
            bar = partial(progress_bar, count(options.images, recursive=options.recursive))
    if output is not None:
        from torchless.batch.journal import journal_path

        if options.resume or (known > 1 and journal_path(output) is not None):
            run = run_identity(classifier, options.model, options.compared)
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


def tell_outcome(outcome: Outcome) -> int:
    """Says what an interrupted run leaves; the exit code that says how the images fared."""
    if outcome.interrupted:
        kept = f", and kept in {outcome.kept_in}: the same command with --resume goes on from there" if outcome.kept_in else ""
        tell(f"interrupted: {outcome.rows} images are done{kept}")
        return INTERRUPTED
    return int(outcome.failed > 0)
