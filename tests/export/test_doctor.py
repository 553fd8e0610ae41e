"""What doctor says about each kind of artifact: that a good one is fine, and how to make a changed one again."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from torchless.doctor.model import model_findings
from torchless.engine.classifier import Classifier
from torchless.model.artifact import read_artifact
from torchless.model.manifest import Manifest, Reduction
from torchless_export.convert.write import write_sealed
from torchless_export.in_graph.build import InGraph, put_in_graph
from torchless_export.reduce.float16 import to_float16
from torchless_export.reduce.int8 import measure, to_int8

Make = Callable[[Path, Manifest], tuple[onnx.ModelProto, Manifest]]

EXPORT = "torchless export tiny --builder tests.models:tiny"


def plain(tiny: Path, manifest: Manifest) -> tuple[onnx.ModelProto, Manifest]:
    return onnx.load(tiny), manifest


def in_graph(tiny: Path, manifest: Manifest, top_k: int | None = None) -> tuple[onnx.ModelProto, Manifest]:
    model = onnx.load(tiny)
    return model, put_in_graph(model, manifest, InGraph(top_k=top_k))


def with_top_k(tiny: Path, manifest: Manifest) -> tuple[onnx.ModelProto, Manifest]:
    return in_graph(tiny, manifest, 3)


def in_batches_of_three(tiny: Path, manifest: Manifest) -> tuple[onnx.ModelProto, Manifest]:
    model = onnx.load(tiny)
    for value in (model.graph.input[0], model.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 3
    return model, replace(manifest, input=replace(manifest.input, shape=(3, *manifest.input.shape[1:])))


def noise() -> list[np.ndarray]:
    return [np.random.default_rng(0).normal(0, 1, (4, 3, 32, 32)).astype(np.float32)]


def reduced(manifest: Manifest, precision: str, **facts: object) -> Manifest:
    return replace(
        manifest, precision=precision, reduction=Reduction(float_file="tiny.onnx", float_sha256="0" * 64, **facts)
    )


def int8(tiny: Path, manifest: Manifest) -> tuple[onnx.ModelProto, Manifest]:
    model = to_int8(measure(tiny, noise(), "input", 7), recipe="blocks", kept_float=())
    return model, reduced(manifest, "int8", recipe="blocks", weight_bits=7)


def float16(tiny: Path, manifest: Manifest) -> tuple[onnx.ModelProto, Manifest]:
    return to_float16(tiny, noise(), "input").model, reduced(manifest, "fp16", recipe="float16")


KINDS: dict[str, tuple[Make, str]] = {
    "float32": (plain, f"{EXPORT} --output {{path}}"),
    "in-graph": (in_graph, f"{EXPORT} --preprocess-in-graph --output {{path}}"),
    "in-graph-top-k": (with_top_k, f"{EXPORT} --preprocess-in-graph --topk-in-graph 3 --output {{path}}"),
    "batch-fixed": (in_batches_of_three, f"{EXPORT} --output {{path}}"),
    "int8": (int8, "torchless quantize {float} --precision int8 --calibration IMAGES --weight-bits 7 --output {path}"),
    "fp16": (float16, "torchless quantize {float} --precision fp16 --output {path}"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest, tiny: Path, tmp_path: Path) -> tuple[Path, str]:
    """An artifact of that kind, and the command that makes it."""
    make, command = KINDS[request.param]
    path = tmp_path / f"{request.param}.onnx"
    write_sealed(*make(tiny, read_artifact(tiny).manifest), (), path)
    return path, command.format(path=path, float=tmp_path / "tiny.onnx")


def test_a_good_artifact_is_well(kind: tuple[Path, str]) -> None:
    path, _ = kind
    model, proof, answers = model_findings(path)
    assert model.is_well, model.message
    assert model.message.startswith(f"{path} runs: 5 classes, opset ai.onnx ")
    assert (proof.is_well, proof.message) == (True, "passed the parity gate, and is unchanged since")
    assert (model.fix, proof.fix, answers.fix) == (None, None, None)


def test_a_changed_artifact_is_made_again_as_what_it_was(kind: tuple[Path, str]) -> None:
    path, command = kind
    model = onnx.load(path)
    model.doc_string = "changed"
    path.write_bytes(model.SerializeToString())
    if "quantize" in command:
        path.with_name("tiny.onnx").touch()
    well, proof, _ = model_findings(path)
    assert well.is_well
    assert "was changed after it was sealed" in proof.message
    assert ("quantize it again" in proof.message) == ("quantize" in command)
    assert (proof.fix, proof.exit_code) == (command, 3)


def test_the_float32_file_is_exported_first_where_it_is_not_there(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.fp16.onnx"
    model, manifest = float16(tiny, read_artifact(tiny).manifest)
    write_sealed(model, replace(manifest, parity=None), (), path)
    *_, proof, _ = model_findings(path)
    assert (
        proof.fix == f"{EXPORT} --output {tmp_path / 'tiny.onnx'} && torchless quantize {tmp_path / 'tiny.onnx'} "
        f"--precision fp16 --output {path}"
    )


@pytest.mark.parametrize("batch_size", [1, 4])
def test_the_example_fits_every_kind(kind: tuple[Path, str], batch_size: int) -> None:
    classifier = Classifier(kind[0], device="cpu")
    example = classifier.example(batch_size)
    assert example.shape == (
        (batch_size, 32, 32, 3) if classifier.manifest.input.takes_pixels else (batch_size, 3, 32, 32)
    )
    assert example.dtype == classifier.manifest.input.dtype
    assert classifier.run(example).shape == (batch_size, 5)
