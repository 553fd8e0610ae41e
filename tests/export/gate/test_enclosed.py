"""The evidence that an export writes: PyTorch's own tensors and logits, with the limits of its gate."""

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import REPO
from tests.models import network, preset
from tests.models import tiny as builder

import torchless
from torchless.image.decode import load_rgb
from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence, evidence_of
from torchless_export import ImageSplit, InGraph, ModelRequest, ParityError, QuantizeRequest, export_model, quantize
from torchless_export.gate import enclosed

TINY = ModelRequest(model="tiny", builder="tests.models:tiny")


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(REPO))


@pytest.fixture
def roomy(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the file were large: twelve images fit."""
    monkeypatch.setattr("torchless_export.convert.write.room_in", lambda size: 300_000)


def carried(path: Path) -> Evidence:
    return evidence_of(read_artifact(path))


def test_it_holds_what_pytorch_was_given_and_answered(tmp_path: Path, roomy: None) -> None:
    found = carried(export_model(TINY, output=tmp_path / "tiny.onnx").path)
    module, transform, labels = builder()
    assert [image.set for image in found.images] == ["random", "photos", "photos", "random", *["photos"] * 8]
    for image in found.images:
        tensor = transform(load_rgb(image.content))
        assert hashlib.sha256(tensor.numpy().tobytes()).hexdigest() == image.input_sha256
        with torch.inference_mode():
            wanted = module.double()(tensor[None].double())[0]
        np.testing.assert_allclose(image.reference, wanted.numpy(), rtol=1e-12)
        assert image.label == labels[int(wanted.argmax())]


def test_the_limits_are_those_of_the_gate(tmp_path: Path) -> None:
    exported = export_model(TINY, output=tmp_path / "tiny.onnx")
    found, units = carried(exported.path), {row.images: row for row in exported.verdict.metrics}
    for limit in found.limits:
        row = units[limit.set]
        assert limit.unit >= row.max_abs_error / row.units * (1 - 1e-9)
        assert limit.units == 5
    assert (found.rule, found.reason) == ("float64", None)


def test_without_float64(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless_export.gate.oracle.MAX_FLOAT64_PARAMETERS", 10)
    path = export_model(TINY, output=tmp_path / "tiny.onnx").path
    assert carried(path).rule == "spread"
    proof = torchless.verify(path, device="cpu")
    assert proof.passed
    assert "too many for a float64 copy" in str(proof.reason)


def test_with_the_preprocessing_in_the_graph(tmp_path: Path) -> None:
    path = export_model(TINY, output=tmp_path / "tiny.onnx", in_graph=InGraph(top_k=2)).path
    for image in carried(path).images:
        pixels = np.asarray(load_rgb(image.content))
        assert hashlib.sha256(pixels.tobytes()).hexdigest() == image.input_sha256
    assert torchless.verify(path, device="cpu").passed


def test_a_live_network_that_takes_images_of_its_own_size_alone(tmp_path: Path, roomy: None) -> None:
    from torchvision.transforms import Compose, Normalize, ToTensor

    transform = Compose([ToTensor(), Normalize(preset().mean, preset().std)])
    photo = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    path = export_model(
        network(), transform=transform, labels=list("abcde"), output=tmp_path / "net.onnx", examples=[photo]
    ).path
    assert {load_rgb(image.content).size for image in carried(path).images} == {(32, 32)}
    assert torchless.verify(path, device="cpu").passed


def test_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line) -> None:
    said: list[str] = []
    path = export_model(TINY, output=tmp_path / "tiny.onnx", evidence=False, progress=said.append).path
    assert Evidence.KEY not in read_artifact(path).file.metadata
    assert not any("evidence" in line for line in said)
    monkeypatch.setattr("torchless_export.convert.write.room_in", lambda size: 100)
    path = export_model(TINY, output=tmp_path / "tiny.onnx", progress=said.append).path
    assert Evidence.KEY not in read_artifact(path).file.metadata
    assert said[-1] == "carries no evidence, for which it is too small: it cannot be proved without PyTorch"
    monkeypatch.undo()
    monkeypatch.chdir(REPO)
    arguments = ("tiny", "--builder", TINY.builder, "--output", tmp_path / "tiny.onnx", "--no-evidence")
    assert command_line("torchless", "export", *arguments)[0] == 0
    assert Evidence.KEY not in read_artifact(path).file.metadata


def test_a_file_that_cannot_prove_itself_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lies(*arguments: object) -> Evidence:
        found = original(*arguments)
        return replace(found, limits=tuple(replace(limit, unit=1e-12) for limit in found.limits))

    original = enclosed.enclose
    monkeypatch.setattr("torchless_export.export.enclose", lies)
    with pytest.raises(ParityError, match="does not give PyTorch's answers to the images that it carries") as refused:
        export_model(TINY, output=tmp_path / "tiny.onnx", exporter="dynamo")
    assert "logits" in refused.value.failed
    assert list(tmp_path.iterdir()) == []


def test_float16_passes_pytorchs_answers_on(tiny: Path, tmp_path: Path, roomy: None) -> None:
    said: list[str] = []
    request = QuantizeRequest(source=tiny, precision="fp16", images=ImageSplit((), (), False))
    path = quantize(request, tmp_path / "half.onnx", progress=said.append).path
    found, source = carried(path), carried(tiny)
    assert found.images == source.images
    assert (found.rule, found.min_agreement, found.max_noise) == ("decisions", 0.95, 0.02)
    assert torchless.verify(path, device="cpu").passed
    assert said[-1] == "carries PyTorch's answers to 2 images: torchless verify proves it without PyTorch"
    bare = export_model(TINY, output=tmp_path / "bare.onnx", evidence=False).path
    quantize(replace(request, source=bare), tmp_path / "half.onnx", progress=said.append)
    assert said[-1] == f"carries no evidence, as {bare} has none: it cannot be proved without PyTorch"
