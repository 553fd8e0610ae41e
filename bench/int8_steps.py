"""What each step of `torchless quantize` gives, and two peers: prints JSON, which docs/quantize.md shows.

    python bench/int8_steps.py artifacts/real [PYTHON] > figures/quantize/tried.json

artifacts/real is what `make real` leaves: float32 files, int8 files and crops. PYTHON is one that has nncf and onnx
(`pip install nncf openvino onnx`), in an environment of its own. Agreement is on the test crops, which set no scale;
time is CPU time of one image on one thread, as a multiple of float32's, in turn and the least of several.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from torchless.doctor.machine import here, versions
from torchless.engine.classifier import Classifier
from torchless.engine.session import Session, open_session
from torchless.model.onnxfile import read_onnx
from torchless.proof.answers import noise
from torchless_export.reduce.images import ImageSplit, prepared
from torchless_export.reduce.int8 import best_weight_bits, measure, to_int8

NAMES = ("squeezenet1_1", "efficientnet_lite0")
CALIBRATED, ROUNDS, CALLS, RANDOM = 128, 5, 8, 0.02
NNCF = """
import sys, numpy, onnx, onnxruntime, nncf
source, batches, output, *how = sys.argv[1:]
images = list(numpy.load(batches)[:, None])
data = nncf.Dataset(images, lambda image: {"input": image})
given = {"subset_size": len(images), "fast_bias_correction": False}
without = nncf.AdvancedQuantizationParameters(disable_bias_correction="without_correction" in how)

def answers(model, images):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return [int(session.run(None, {"input": image})[0].argmax()) for image in images]

model = onnx.load(source)
if "controlled" in how:
    wanted = {image.tobytes(): answer for image, answer in zip(images, answers(model, images))}
    def agreement(model, images):
        images = list(images)
        right = [float(got == wanted[image.tobytes()]) for got, image in zip(answers(model, images), images)]
        return sum(right) / len(right), right
    given["advanced_quantization_parameters"] = without
    given["advanced_accuracy_restorer_parameters"] = nncf.AdvancedAccuracyRestorerParameters(ranking_subset_size=32)
    made = nncf.quantize_with_accuracy_control(model, data, data, agreement, **given)
else:
    made = nncf.quantize(model, data, advanced_parameters=without, **given)
onnx.save(made, output)
"""

Batch = NDArray[np.float32]


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, batches: list[Batch]) -> None:
        self._batches = iter(batches)

    def get_next(self) -> dict[str, Batch] | None:
        batch = next(self._batches, None)
        return None if batch is None else {"input": batch}


def steps(source: Path, batches: list[Batch], box: Path, python: str | None) -> Iterator[tuple[str, Path]]:
    """The int8 files by what made them."""
    plain = box / "plain.onnx"
    quantize_static(
        source, plain, _Reader(batches), quant_format=QuantFormat.QDQ, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    yield "ONNX Runtime's quantize_static", plain
    if python is not None:
        yield from _of_nncf(source, batches, box, python)
    graph = measure(source, batches, "input", best_weight_bits())
    for name, errors in (("ranges of least error", {}), ("and mean errors taken out", graph.errors)):
        path = box / f"{name}.onnx"
        path.write_bytes(to_int8(replace(graph, errors=errors), recipe="blocks").SerializeToString())
        yield name, path
    found = source.with_name(f"{source.stem}.int8.onnx")
    if found.exists():
        yield "and layers in float32", found


def _of_nncf(source: Path, batches: list[Batch], box: Path, python: str) -> Iterator[tuple[str, Path]]:
    """Its correction of biases fails on some graphs. Its search for accuracy may lose 1 % of the answers to the images
    that set the scales; it puts the layers in order again and again, by 32 of them.
    """
    images = box / "images.npy"
    np.save(images, np.concatenate(batches))
    for name, how in (("NNCF's quantize", ()), ("NNCF's quantize_with_accuracy_control", ("controlled",))):
        output = box / f"{name}.onnx"
        command = [python, "-c", NNCF, source, images, output, *how]
        if subprocess.run(command, stdout=sys.stderr, check=False).returncode == 0:
            yield name, output
        else:
            subprocess.run([*command, "without_correction"], stdout=sys.stderr, check=True)
            yield f"{name}, whose bias correction fails here", output


def rows(source: Path, crops: Path, python: str | None) -> list[dict[str, Any]]:
    """One for each step."""
    classifier = Classifier(source, device="cpu", threads=1)
    own = ImageSplit([str(crops / "calibration")], [str(crops / "test")])
    batches = list(prepared(classifier, own.to_calibrate(classifier, CALIBRATED)))
    tests = list(prepared(classifier, own.to_test(classifier, (), 1000)))
    wanted = np.concatenate([classifier.run(batch) for batch in tests])
    with tempfile.TemporaryDirectory() as box:
        files = {"float32": source, **dict(steps(source, batches, Path(box), python))}
        sessions = {step: open_session(read_onnx(path), device="cpu", threads=1) for step, path in files.items()}
        floats = {step: _float_layers(path) for step, path in files.items()}
    times = _times(sessions, batches[0])
    outputs = {step: np.concatenate([_run(session, batch) for batch in tests]) for step, session in sessions.items()}
    random = np.random.default_rng(0).normal(0, RANDOM * wanted.std(axis=0).mean(), wanted.shape)
    compared = {**outputs, "float32 with random noise": wanted + random}
    return [
        {
            "network": source.stem, "step": step, "images": len(tests), "float_layers": floats.get(step),
            "agreement": float((got.argmax(axis=1) == wanted.argmax(axis=1)).mean()), "noise": noise(wanted, got),
            "cpu_ms": times.get(step),
        }
        for step, got in compared.items()
    ]  # fmt: skip


def _float_layers(path: Path) -> int:
    """Convolutions and products whose weights are float32."""
    graph = onnx.load(path).graph
    floats = {weight.name for weight in graph.initializer if weight.data_type == onnx.TensorProto.FLOAT}
    return sum(node.op_type in ("Conv", "Gemm", "MatMul") and node.input[1] in floats for node in graph.node)


def _times(sessions: dict[str, Session], batch: Batch) -> dict[str, float]:
    """In ms."""
    found = {step: float("inf") for step in sessions}
    for _ in range(ROUNDS):
        for step, session in sessions.items():
            _run(session, batch)
            found[step] = min(found[step], *(_timed(lambda: _run(session, batch)) for _ in range(CALLS)))  # noqa: B023
    return found


def _timed(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return 1000 * (time.process_time() - start)


def _run(session: Session, batch: Batch) -> Batch:
    return session.run(batch, "input", "logits")


def main(folder: str, python: str | None = None) -> None:
    """Prints the JSON."""
    found = [row for name in NAMES for row in rows(Path(folder, f"{name}.onnx"), Path(folder, "crops"), python)]
    print(json.dumps(here() | {"versions": versions("onnxruntime", "onnx"), "rows": found}, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
