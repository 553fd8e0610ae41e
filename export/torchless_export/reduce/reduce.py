"""reduce_model: a float32 artifact → a smaller one that decides as it does, and pays; or no file."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless.engine.classifier import Classifier
from torchless.errors import ManifestMissingError, UsageError
from torchless.evaluate.agreement import compare_answers
from torchless.evaluate.dataset import Dataset, read_dataset
from torchless.evaluate.run import evaluate
from torchless.evaluate.text import percent
from torchless.model.artifact import Artifact, manifest_of, read_artifact, sha256_of
from torchless.model.inspection import LAYERS_KEY, layers_from_json
from torchless.model.manifest import Check, Manifest, Pace, Parity, Reduction
from torchless.model.onnxfile import read_onnx
from torchless_export import gate as parity
from torchless_export.convert.write import staged, write_sealed
from torchless_export.errors import NoGainError, ParityError
from torchless_export.gate import decisions
from torchless_export.gate.checks import check_structure
from torchless_export.gate.evidence import max_abs
from torchless_export.reduce.float16 import to_float16
from torchless_export.reduce.images import Images, image_set, prepared
from torchless_export.reduce.int8 import WeightBits, best_weight_bits, measure
from torchless_export.reduce.pace import measure_pace, pace_text, pays
from torchless_export.reduce.search import Bounds, Report, Search
from torchless_export.sources import images as judges
from torchless_export.sources.images import Judge

MOST_TO_CALIBRATE, MOST_TO_JUDGE, _CHUNK = 128, 1000, 8


@dataclass(frozen=True, kw_only=True)
class ReduceRequest:
    """What is made of the float32 artifact `source`, and what it must stand up to.

    `data` are labelled images (a folder of class folders, or a list), on which top-1 error may rise by `max_error_rise`. `weight_bits` is
    chosen by the processor when it is None. `kept_float` are ONNX node names for int8 (which then stay in float32 besides those that the
    search finds), operator types for float16. `force` writes a file that is not smaller and faster too.
    """

    source: Path
    precision: Literal["int8", "fp16"]
    images: Images
    data: Path | None = None
    class_map: Path | None = None
    min_agreement: float = decisions.MIN_AGREEMENT
    max_error_rise: float = decisions.MAX_ERROR_RISE
    weight_bits: WeightBits | None = None
    kept_float: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    force: bool = False


@dataclass(frozen=True)
class Reduced:
    """A file that passed its gate."""

    path: Path
    manifest: Manifest
    verdict: Parity
    pace: Pace
    seconds: float


@dataclass(frozen=True)
class _Made:
    model: onnx.ModelProto
    reduction: Reduction
    calibrated: Sequence[Judge]


def reduce_model(request: ReduceRequest, output: Path, *, report: Report = lambda _: None) -> Reduced:
    """Writes the artifact `output`, which appears only if it decides as the float32 one and pays; `report` is told what is being done.

    Raises UsageError, ArtifactError for the source, ParityError with every check's figure, or NoGainError with both figures.
    """
    start = time.monotonic()
    artifact = _source(request, output, report)
    dataset = _read_data(request, artifact.manifest)
    classifier = Classifier(request.source, device="cpu")
    with staged(output) as path:
        made = (_int8 if request.precision == "int8" else _float16)(request, artifact, classifier, report)
        layers = layers_from_json(artifact.file.metadata.get(LAYERS_KEY, "[]"))
        manifest = replace(artifact.manifest, precision=request.precision, reduction=made.reduction, parity=None)
        write_sealed(made.model, manifest, layers, path)
        report("judging its decisions on images that it was not calibrated on")
        verdict, judged = _judge(request, classifier, path, made.calibrated, dataset)
        for line in request.images.failures:
            report(f"not read: {line}")
        if not verdict.passed:
            raise ParityError(f"{output.name} was not written: it does not decide as {request.source} does:\n{parity.table(verdict)}", verdict)
        pace = measure_pace(request.source, path)
        _check_pace(request, output, pace, report)
        reduction = replace(made.reduction, judged=image_set(judged), pace=pace)
        manifest = replace(manifest, parity=verdict, reduction=reduction)
        write_sealed(made.model, manifest, layers, path)
    return Reduced(output, manifest, verdict, pace, time.monotonic() - start)


def _source(request: ReduceRequest, output: Path, report: Report) -> Artifact:
    """The float32 artifact. Everything that can be refused at once is refused here."""
    if output.suffix != ".onnx":
        raise UsageError(f"the output file must end in .onnx, got {output}")
    if manifest_of(read_onnx(request.source)) is None:
        raise ManifestMissingError(f"{request.source} has no manifest; torchless export makes artifacts that have one")
    artifact = read_artifact(request.source)
    if artifact.manifest.precision != "fp32":
        raise UsageError(f"{request.source} is {artifact.manifest.precision} already; give the float32 file that it was made from")
    if artifact.manifest.input.takes_pixels:
        raise UsageError(f"{request.source} prepares images in its graph, where pixels need all their digits; give a plain export")
    if artifact.manifest.files is not None:
        raise UsageError(f"{request.source} keeps its weights in a second file: networks of more than 2 GB are not reduced")
    if output.exists() and output.samefile(request.source):
        raise UsageError(f"{output} is the float32 file itself; name another with --output")
    if request.precision == "int8" and not request.images.calibration:
        raise UsageError("int8 takes images to calibrate on, like those it will see: --calibration FOLDER")
    request.images.check()
    for doubt in artifact.doubts():
        report(f"warning: {doubt}")
    return artifact


def _read_data(request: ReduceRequest, manifest: Manifest) -> Dataset | None:
    return read_dataset(request.data, labels=manifest.labels, class_map=request.class_map) if request.data is not None else None


def _int8(request: ReduceRequest, artifact: Artifact, classifier: Classifier, report: Report) -> _Made:
    calibrated = request.images.to_calibrate(classifier, MOST_TO_CALIBRATE)
    bits = request.weight_bits or best_weight_bits()
    report(f"calibrating on {len(calibrated)} images; weights of {bits} bits")
    batches = list(prepared(classifier, calibrated))
    graph = measure(request.source, batches, artifact.manifest.input.name)
    graph.check_names(request.kept_float)
    search = Search(
        graph,
        artifact.manifest,
        batches,
        np.concatenate([classifier.run(batch) for batch in batches]),
        weight_bits=bits,
        min_agreement=request.min_agreement,
        bounds=request.bounds,
        always_kept=request.kept_float,
        report=report,
    )
    found = search.run()
    reduction = Reduction(
        float_file=artifact.path.name,
        float_sha256=sha256_of(artifact.path),
        recipe=found.recipe,
        weight_bits=bits,
        kept_float=(*request.kept_float, *(name for group in found.kept for name in group)),
        calibration=image_set(judge.told.sha256 for judge in calibrated),
    )
    return _Made(found.model, reduction, calibrated)


def _float16(request: ReduceRequest, artifact: Artifact, classifier: Classifier, report: Report) -> _Made:
    images = [*judges.photos(), *judges.noise(seed=2)]
    half = to_float16(artifact.path, list(prepared(classifier, images)), artifact.manifest.input.name, kept_float=request.kept_float)
    for line in half.notes:
        report(line)
    reduction = Reduction(
        float_file=artifact.path.name, float_sha256=sha256_of(artifact.path), recipe="float16", kept_float=half.kept_float
    )  # fmt: skip
    return _Made(half.model, reduction, ())


def _judge(
    request: ReduceRequest, classifier: Classifier, path: Path, calibrated: Sequence[Judge], dataset: Dataset | None
) -> tuple[Parity, list[str]]:
    """The verdict, and the SHA-256 of the images that it rests on."""
    structure = check_structure(path)
    if not structure.passed:
        return Parity(passed=False, checks=(structure,), max_abs_error=float("inf"), images=0, rule="decisions"), []
    small = Classifier(path, device="cpu")
    given = bool(request.images.calibration or request.images.judge)
    stream = request.images.to_judge(classifier, calibrated, MOST_TO_JUDGE) if given else iter(judges.photos())
    digests, wanted, alone, together = _observe(classifier, small, stream)
    found = decisions.decide(wanted, alone)
    least = decisions.LEAST_IMAGES if given else 0  # float16 without images of yours: the gate's own photos, which are few
    made = [structure, *decisions.checks(found, request.min_agreement, least_images=least), decisions.check_batching(alone, together)]
    if request.precision == "fp16":
        made.append(decisions.check_noise(found))
    if dataset is not None:
        made.append(_check_error(classifier, small, _unseen(dataset, calibrated), request.max_error_rise))
    return decisions.verdict(found, made, max_abs(alone - wanted)), digests


def _observe(
    classifier: Classifier, small: Classifier, stream: Iterator[Judge]
) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The images' SHA-256, the float model's logits, the small one's, one image at a time, and several at once."""
    digests: list[str] = []
    rows: list[tuple[NDArray[np.float32], ...]] = []
    while chunk := list(islice(stream, _CHUNK)):
        batches = list(prepared(classifier, chunk))
        digests += [judge.told.sha256 for judge in chunk]
        runs = [np.concatenate([model.run(batch) for batch in batches]) for model in (classifier, small)]
        rows.append((*runs, small.run(np.concatenate(batches))))
    if not rows:
        raise UsageError("no image is left to judge: give more to --calibration, of which every second one judges, or others with --judge")
    wanted, alone, together = (np.concatenate(column) for column in zip(*rows, strict=True))
    return digests, wanted, alone, together


def _unseen(dataset: Dataset, calibrated: Sequence[Judge]) -> Dataset:
    """Without the images that the scales were made from."""
    seen = {judge.told.sha256 for judge in calibrated}
    kept = [item for item in dataset if not Path(item.name).is_file() or sha256_of(Path(item.name)) not in seen]
    if not kept:
        raise UsageError(f"every image of {dataset.source} was calibrated on; give labelled images that were not")
    return replace(dataset, examples=tuple(kept))


def _check_error(classifier: Classifier, small: Classifier, dataset: Dataset, limit: float) -> Check:
    before, after = evaluate(classifier, dataset), evaluate(small, dataset)
    both = compare_answers(dataset, before.answers, after.answers)
    rise = after.top1_error.value - before.top1_error.value
    told = f"top-1 error {percent(before.top1_error.value)} → {percent(after.top1_error.value)} on {both.images} images"
    detail = f"{told}: {both.only_first_right} right by float alone, {both.only_second_right} by this alone, p = {both.p_value:.2g}"
    return Check(name="error_rise", passed=rise <= limit + 1e-9, figure=rise, limit=limit, detail=detail)


def _check_pace(request: ReduceRequest, output: Path, pace: Pace, report: Report) -> None:
    if request.precision == "fp16":
        report("float16 is for GPUs: on a CPU, ONNX Runtime computes much of it in float32, with conversions in between")
    elif not pays(pace) and not request.force:
        raise NoGainError(
            f"{output.name} was not written: it would not be both smaller and faster than {request.source} here: {pace_text(pace)}; "
            "--force writes it all the same"
        )
