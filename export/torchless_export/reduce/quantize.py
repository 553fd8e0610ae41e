"""quantize: a float32 artifact → a smaller and faster one that decides as it does; or no file."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray

from torchless.engine.classifier import Classifier
from torchless.engine.head import Head
from torchless.errors import ManifestMissingError, UsageError
from torchless.evaluate.agreement import compare_answers
from torchless.evaluate.dataset import Dataset, read_dataset
from torchless.evaluate.run import evaluate
from torchless.evaluate.text import percent
from torchless.model.artifact import Artifact, manifest_of, read_artifact, sha256_of
from torchless.model.evidence import Evidence, evidence_of
from torchless.model.inspection import LAYERS_KEY, layers_from_json
from torchless.model.manifest import Check, Manifest, Pace, Parity, Reduction
from torchless.model.onnxfile import read_onnx
from torchless.proof.answers import max_abs
from torchless_export.convert.write import SealedFile, staged, write_sealed
from torchless_export.errors import NoGainError, ParityError
from torchless_export.gate import decisions
from torchless_export.gate.limits import LEAST_IMAGES
from torchless_export.gate.sealing import enclose_reduced, seal
from torchless_export.gate.structure import check_structure
from torchless_export.gate.text import table
from torchless_export.reduce.float16 import to_float16
from torchless_export.reduce.images import image_set, prepared
from torchless_export.reduce.int8 import best_weight_bits, measure
from torchless_export.reduce.pace import measure_pace, pace_text, pays
from torchless_export.reduce.request import QuantizeRequest
from torchless_export.reduce.search import Progress, Search
from torchless_export.sources import images
from torchless_export.sources.images import TestImage

MOST_TO_CALIBRATE, MOST_TO_TEST, _CHUNK = 128, 1000, 8
_INT8_OPSET = 13  # since which an operator of ONNX quantises each channel by itself


@dataclass(frozen=True)
class Quantized:
    """A file that passed: the manifest and the verdict in it, its size and time beside those of the float32 file, and
    seconds of work.
    """

    path: Path
    manifest: Manifest
    verdict: Parity
    pace: Pace
    seconds: float


@dataclass(frozen=True)
class _Made:
    model: onnx.ModelProto
    reduction: Reduction
    calibrated: Sequence[TestImage]


def quantize(
    request: QuantizeRequest, output: str | PathLike[str], *, progress: Progress = lambda _: None
) -> Quantized:
    """Makes an int8 or float16 file of a float32 artifact, as `request` says (docs/quantize.md). `output` appears only
    if it decides as the float32 file does and is smaller and faster on this machine. Its inputs, outputs, labels and
    preprocessing stay as they are: float32 (batch, 3, crop, crop) → float32 logits (batch, classes). `progress` gets a
    line for each step.

    int8 is onnxruntime.quantization's static quantisation in QDQ form, float16 is onnxruntime.transformers.float16.
    Raises UsageError for the request, ArtifactError for the source, ParityError with every check's figure, and
    NoGainError with both sizes (bytes) and times (ms).
    """
    start, output = time.monotonic(), Path(output)
    artifact = _source(request, output, progress)
    classifier = Classifier(request.source, device="cpu")
    dataset = _read_data(request, classifier.head)
    with staged(output) as path:
        made = (_int8 if request.precision == "int8" else _float16)(request, artifact, classifier, progress)
        layers = layers_from_json(artifact.file.metadata.get(LAYERS_KEY, "[]"))
        manifest = replace(artifact.manifest, precision=request.precision, reduction=made.reduction, parity=None)
        file = write_sealed(made.model, manifest, layers, path)
        progress("checking its decisions on images that it was not calibrated on")
        verdict, tested = _check(request, classifier, path, made.calibrated, dataset)
        for line in request.images.failures:
            progress(f"not read: {line}")
        if not verdict.passed:
            raise ParityError(
                f"{output.name} was not written: it does not decide as {request.source} does:\n{table(verdict)}",
                verdict,
            )
        pace = measure_pace(request.source, path)
        _check_pace(request, output, pace, progress)
        reduction = replace(made.reduction, judged=image_set(tested), pace=pace)
        _seal(request, artifact, file, replace(manifest, parity=verdict, reduction=reduction), progress)
    return Quantized(output, file.manifest, verdict, pace, time.monotonic() - start)


def _seal(request: QuantizeRequest, source: Artifact, file: SealedFile, manifest: Manifest, progress: Progress) -> None:
    if request.evidence and manifest.parity is not None and Evidence.KEY in source.file.metadata:
        own = enclose_reduced(evidence_of(source), file.path, manifest, manifest.parity.max_abs_error)
        seal(file, manifest, own, progress)
        return
    file.write(manifest)
    if request.evidence:
        progress(f"carries no evidence, as {source.path} has none: it cannot be proved without PyTorch")


def _source(request: QuantizeRequest, output: Path, progress: Progress) -> Artifact:
    """The float32 artifact. Whatever can be refused at once is refused here."""
    if output.suffix != ".onnx":
        raise UsageError(f"the output file must end in .onnx, got {output}")
    if manifest_of(read_onnx(request.source)) is None:
        raise ManifestMissingError(f"{request.source} has no manifest; torchless export makes artifacts with one")
    artifact = read_artifact(request.source)
    if artifact.manifest.precision != "fp32":
        raise UsageError(
            f"{request.source} is {artifact.manifest.precision} already; give the float32 file that it was made from"
        )
    if artifact.manifest.input.takes_pixels:
        raise UsageError(
            f"{request.source} prepares images in its graph, where pixels need full precision; give a plain export"
        )
    if artifact.manifest.files is not None:
        raise UsageError(
            f"{request.source} keeps its weights in a second file: networks of more than 2 GB are not supported"
        )
    opset = artifact.file.opsets["ai.onnx"]
    if request.precision == "int8" and opset < _INT8_OPSET:
        raise UsageError(
            f"{request.source} has opset {opset}; int8 needs one that was exported with `opset` {_INT8_OPSET} or newer"
        )
    if output.exists() and output.samefile(request.source):
        raise UsageError(f"{output} is the float32 file itself; give another `output`")
    if request.precision == "int8" and not request.images.calibration:
        raise UsageError(
            f"int8 needs images to calibrate on, like those that the model will see: `{request.images.parameter}`"
        )
    request.images.check(LEAST_IMAGES, calibrated=request.precision == "int8")
    for doubt in artifact.doubts():
        progress(f"warning: {doubt}")
    return artifact


def _read_data(request: QuantizeRequest, head: Head) -> Dataset | None:
    if request.data is None:
        return None
    if head.multi_label:
        raise UsageError("`data` measures top-1 error, which a multi-label model does not have; leave it out")
    return read_dataset(request.data, labels=head.labels, class_map=request.class_map)


def _int8(request: QuantizeRequest, artifact: Artifact, classifier: Classifier, progress: Progress) -> _Made:
    calibrated = request.images.to_calibrate(classifier, MOST_TO_CALIBRATE)
    request.images.check_left(classifier, calibrated, LEAST_IMAGES)
    bits = request.weight_bits or best_weight_bits()
    progress(f"calibrating on {len(calibrated)} images; weights of {bits} bits")
    batches = list(prepared(classifier, calibrated))
    graph = measure(request.source, batches, artifact.manifest.input.name, bits)
    graph.check_names(request.kept_float)
    search = Search(
        graph,
        artifact.manifest,
        batches,
        np.concatenate([classifier.run(batch) for batch in batches]),
        min_agreement=request.min_agreement,
        bounds=request.bounds,
        always_kept=request.kept_float,
        progress=progress,
    )
    found = search.run()
    reduction = Reduction(
        float_file=artifact.path.name,
        float_sha256=sha256_of(artifact.path),
        recipe=found.recipe,
        weight_bits=bits,
        kept_float=(*request.kept_float, *(name for group in found.kept for name in group)),
        calibration=image_set(image.record.sha256 for image in calibrated),
    )
    return _Made(found.model, reduction, calibrated)


def _float16(request: QuantizeRequest, artifact: Artifact, classifier: Classifier, progress: Progress) -> _Made:
    own = [test for tests in images.gate_sets().values() for test in tests]
    half = to_float16(
        artifact.path, list(prepared(classifier, own)), artifact.manifest.input.name, kept_float=request.kept_float
    )
    for line in half.notes:
        progress(line)
    reduction = Reduction(
        float_file=artifact.path.name, float_sha256=sha256_of(artifact.path), recipe="float16",
        kept_float=half.kept_float
    )  # fmt: skip
    return _Made(half.model, reduction, ())


def _check(
    request: QuantizeRequest,
    classifier: Classifier,
    path: Path,
    calibrated: Sequence[TestImage],
    dataset: Dataset | None,
) -> tuple[Parity, list[str]]:
    """The verdict, and the SHA-256 of the test images."""
    structure = check_structure(path)
    if not structure.passed:
        return Parity(passed=False, checks=(structure,), max_abs_error=float("inf"), images=0, rule="decisions"), []
    return judge(request, classifier, Classifier(path, device="cpu"), structure, calibrated, dataset)


def judge(
    request: QuantizeRequest,
    classifier: Classifier,
    small: Classifier,
    structure: Check,
    calibrated: Sequence[TestImage],
    dataset: Dataset | None,
) -> tuple[Parity, list[str]]:
    """Whether `small` decides as `classifier` does: the verdict, and the SHA-256 of the test images."""
    given = bool(request.images.calibration or request.images.test_images)
    stream = request.images.to_test(classifier, calibrated, MOST_TO_TEST) if given else iter(images.photos())
    digests, wanted, alone, together = _observe(classifier, small, stream, request.images.failures)
    found = decisions.decide(wanted, alone, classifier.head)
    least = LEAST_IMAGES if given else 0  # float16 without the user's images: the gate's own photos, which are few
    made = [
        structure,
        *decisions.checks(found, request.min_agreement, least_images=least),
        decisions.check_batching(alone, together, classifier.head),
    ]
    if request.precision == "fp16":
        made.append(decisions.check_noise(found))
    if dataset is not None:
        made.append(_check_error(classifier, small, _unseen(dataset, calibrated), request.max_error_rise))
    return decisions.verdict(found, made, max_abs(alone - wanted)), digests


def _observe(
    classifier: Classifier, small: Classifier, stream: Iterator[TestImage], failures: Sequence[str]
) -> tuple[list[str], NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """The images' SHA-256, the float model's logits, and the small one's: one image at a time, and several at once."""
    digests: list[str] = []
    rows: list[tuple[NDArray[np.float32], ...]] = []
    while chunk := list(islice(stream, _CHUNK)):
        batches = list(prepared(classifier, chunk))
        digests += [test.record.sha256 for test in chunk]
        runs = [np.concatenate([model.run(batch) for batch in batches]) for model in (classifier, small)]
        rows.append((*runs, small.run(np.concatenate(batches))))
    if not rows:
        raise UsageError(f"none of the test images can be used{f': {failures[0]}' if failures else ''}")
    wanted, alone, together = (np.concatenate(column) for column in zip(*rows, strict=True))
    return digests, wanted, alone, together


def _unseen(dataset: Dataset, calibrated: Sequence[TestImage]) -> Dataset:
    """Without the images that the scales come from."""
    seen = {image.record.sha256 for image in calibrated}
    kept = [item for item in dataset if not Path(item.name).is_file() or sha256_of(Path(item.name)) not in seen]
    if not kept:
        raise UsageError(f"every image of {dataset.source} was calibrated on; give labelled images that were not")
    return Dataset(dataset.source, dataset.labels, tuple(kept), dataset.passed_over)


def _check_error(classifier: Classifier, small: Classifier, dataset: Dataset, limit: float) -> Check:
    before, after = evaluate(classifier, dataset), evaluate(small, dataset)
    both = compare_answers(dataset, before.answers, after.answers)
    rise = after.top1_error.value - before.top1_error.value
    errors = (
        f"top-1 error {percent(before.top1_error.value)} → {percent(after.top1_error.value)} on {both.images} images"
    )
    detail = (
        f"{errors}: {both.only_first_right} right by float alone, {both.only_second_right} by this alone, p "
        f"= {both.p_value:.2g}"
    )
    return Check(name="error_rise", passed=rise <= limit + 1e-9, figure=rise, limit=limit, detail=detail)


def _check_pace(request: QuantizeRequest, output: Path, pace: Pace, progress: Progress) -> None:
    if request.precision == "fp16":
        progress(
            "float16 is for GPUs: on a CPU, ONNX Runtime computes much of it in float32, with conversions in between"
        )
    elif not pays(pace) and not request.force:
        raise NoGainError(
            f"{output.name} was not written: it would not be both smaller and faster than {request.source} here: "
            f"{pace_text(pace)}; `force` writes it anyway"
        )
