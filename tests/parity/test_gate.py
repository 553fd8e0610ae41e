"""Each check of the gate must bite: a fault is made, and the test says which check caught it."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from torchless import classifier, preprocess
from torchless.manifest import Parity
from torchless_export import parity
from torchless_export.sources import LoadedModel, ModelRequest, load


@pytest.fixture
def loaded() -> LoadedModel:
    return load(ModelRequest(model="tiny", builder="tests.models:tiny"))


def caught_by(verdict: Parity) -> set[str]:
    assert verdict.passed == all(check.passed for check in verdict.checks)
    return {check.name for check in verdict.checks if not check.passed}


def scale_weight(dims: int, factor: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        weight = next(weight for weight in model.graph.initializer if len(weight.dims) == dims)
        weight.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(weight) * factor).astype(np.float32), weight.name))

    return change


def freeze(model: onnx.ModelProto) -> None:
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1


def set_first(value: float) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
        values = numpy_helper.to_array(weight).copy()
        values.flat[0] = value
        weight.CopyFrom(numpy_helper.from_array(values, weight.name))

    return change


def drop_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "nowhere"


def swap_labels(model: onnx.ModelProto) -> None:
    """Rotates the classes of the last layer: every logit is right, at the wrong place."""
    for weight in model.graph.initializer:
        if weight.dims[:1] == [5]:
            weight.CopyFrom(numpy_helper.from_array(np.roll(numpy_helper.to_array(weight), 1, axis=0), weight.name))


def freeze_inside(size: int) -> Callable[[onnx.ModelProto], None]:
    """The usual way to lose the batch axis: it is symbolic outside, and a Reshape within knows one size only."""

    def change(model: onnx.ModelProto) -> None:
        model.graph.node[-1].output[0] = "raw"
        model.graph.initializer.append(numpy_helper.from_array(np.array([size, 5]), "frozen"))
        model.graph.node.append(onnx.helper.make_node("Reshape", ["raw", "frozen"], ["logits"]))

    return change


def double_output(model: onnx.ModelProto) -> None:
    model.graph.node[-1].output[0] = "raw"
    model.graph.node.append(onnx.helper.make_node("Cast", ["raw"], ["logits"], to=onnx.TensorProto.DOUBLE))
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE


def no_kernel(model: onnx.ModelProto) -> None:
    """Valid ONNX that ONNX Runtime cannot run on a CPU."""
    model.graph.node[-1].output[0] = "raw"
    cast = onnx.helper.make_node("Cast", ["raw"], ["half"], to=onnx.TensorProto.BFLOAT16)
    back = onnx.helper.make_node("Cast", ["erf"], ["logits"], to=onnx.TensorProto.FLOAT)
    model.graph.node.extend([cast, onnx.helper.make_node("Erf", ["half"], ["erf"]), back])


LOGITS = {"logits_random", "logits_photos"}


@pytest.mark.parametrize(
    ("change", "checks"),
    [
        pytest.param(scale_weight(4, 1.01), LOGITS, id="a convolution scaled by 1.01"),
        pytest.param(scale_weight(2, 1.001), LOGITS, id="a linear layer scaled by 1.001"),
        pytest.param(swap_labels, LOGITS | {"decision"}, id="classes rotated by one"),
        pytest.param(freeze, {"structure"}, id="the batch axis frozen at one"),
        pytest.param(freeze_inside(1), {"runs"}, id="the batch axis frozen at one, inside"),
        pytest.param(freeze_inside(2), {"runs"}, id="the batch axis frozen at two, inside"),
        pytest.param(double_output, {"structure"}, id="an output in double precision"),
        pytest.param(no_kernel, {"runs"}, id="an operator that the runtime has no kernel for"),
        pytest.param(set_first(float("nan")), {"structure"}, id="a NaN among the weights"),
        pytest.param(set_first(float("inf")), {"structure"}, id="an infinity among the weights"),
        pytest.param(drop_output, {"structure"}, id="an output that nothing computes"),
        pytest.param(lambda m: setattr(m.opset_import[0], "version", 22), {"structure"}, id="an opset too new for the oldest runtime"),
        pytest.param(lambda m: setattr(m, "ir_version", 11), {"structure"}, id="an IR version too new for the oldest runtime"),
    ],
)
def test_a_fault_in_the_file(loaded: LoadedModel, changed: Callable[..., Path], change: Callable, checks: set[str]) -> None:
    assert caught_by(parity.judge(loaded, changed(change))) == checks


def test_the_untouched_file_passes(loaded: LoadedModel, tiny: Path) -> None:
    verdict = parity.judge(loaded, tiny)
    assert caught_by(verdict) == set()
    assert verdict.images == 16
    assert 0 < verdict.max_abs_error < 1e-3


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"resize_size": 38}, id="resize off by one"),
        pytest.param({"interpolation": "bilinear"}, id="bilinear for bicubic"),
        pytest.param({"mean": (0.485, 0.456, 0.406)}, id="another preset's mean"),
        pytest.param({"std": (0.229, 0.224, 0.225)}, id="another preset's std"),
    ],
)
def test_a_manifest_with_wrong_preprocessing(loaded: LoadedModel, changed: Callable[..., Path], change: dict) -> None:
    manifest = classifier.Classifier(changed(), device="cpu").manifest
    wrong = replace(manifest, preprocess=replace(manifest.preprocess, **change))
    assert "preprocessing" in caught_by(parity.judge(loaded, changed(manifest=wrong.to_json())))


def test_preprocessing_code_that_crops_one_pixel_off(loaded: LoadedModel, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = preprocess._crop_start
    monkeypatch.setattr(preprocess, "_crop_start", lambda size, crop: real(size, crop) + 1)
    assert "preprocessing" in caught_by(parity.judge(loaded, tiny))


def test_preprocessing_code_that_rounds_instead_of_cutting_off(loaded: LoadedModel, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded(width: int, height: int, resize_size: int) -> tuple[int, int]:
        short, long = sorted((width, height))
        new = round(resize_size * long / short)
        return (resize_size, new) if width <= height else (new, resize_size)

    monkeypatch.setattr(preprocess, "resized_size", rounded)
    assert caught_by(parity.judge(loaded, tiny)) >= {"preprocessing"}


def test_channels_in_the_wrong_order(loaded: LoadedModel, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = classifier.preprocess
    monkeypatch.setattr(classifier, "preprocess", lambda image, spec, **options: real(image, spec, **options)[::-1].copy())
    assert caught_by(parity.judge(loaded, tiny)) >= {"preprocessing", "logits_photos"}


def test_a_model_left_in_train_mode(loaded: LoadedModel, tiny: Path) -> None:
    loaded.module.train()
    assert caught_by(parity.judge(loaded, tiny)) >= LOGITS


def test_other_weights_of_the_same_shape(loaded: LoadedModel, tiny: Path) -> None:
    other = load(ModelRequest(model="tiny", builder="tests.models:tiny", weights="none", seed=9))
    assert caught_by(parity.judge(other, tiny)) >= LOGITS | {"decision"}


def test_a_network_that_mixes_the_images_of_a_batch(tmp_path: Path) -> None:
    from torchless_export.errors import ParityError
    from torchless_export.export import export_model

    with pytest.raises(ParityError) as caught:
        export_model(ModelRequest(model="folded", builder="tests.models:folded"), tmp_path / "folded.onnx")
    assert "batching" in caught_by(caught.value.parity)


def test_a_zero_head_is_vacuous(tmp_path: Path) -> None:
    """PyTorch and ONNX Runtime agree on it perfectly, and it proves nothing."""
    from torchless_export.errors import ParityError
    from torchless_export.export import export_model

    with pytest.raises(ParityError) as caught:
        export_model(ModelRequest(model="zero", builder="tests.models:zero_head"), tmp_path / "zero.onnx")
    assert caught_by(caught.value.parity) == {"not_vacuous"}


def test_logits_of_1e_14_are_vacuous() -> None:
    logits = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32) * 1e-14
    evidence = parity.Evidence({"photos": logits}, {"photos": {8: logits}}, {"photos": logits})
    assert evidence.variation < parity.VACUITY_FACTOR * evidence.limit


def test_nan_answers_fail_everywhere() -> None:
    logits = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)
    poisoned = logits.copy()
    poisoned[3, 3] = np.nan
    evidence = parity.Evidence({"photos": logits}, {"photos": {8: poisoned}}, {"photos": poisoned})
    failed = {check.name for check in parity._check_values(evidence) if not check.passed}
    assert failed >= {"logits_photos", "batching", "decision"}


class TestOrder:
    wanted = np.array([5.0, 4.0, 3.0, 2.999, 1.0, 0.0], np.float32)

    def test_the_same(self) -> None:
        assert parity.same_order(self.wanted, self.wanted + 0.01, tie=0)

    def test_a_tie_may_change_places(self) -> None:
        got = self.wanted.copy()
        got[[2, 3]] = got[[3, 2]]
        assert parity.same_order(self.wanted, got, tie=0.002)
        assert not parity.same_order(self.wanted, got, tie=0.0005)

    def test_the_sixth_place_does_not_count(self) -> None:
        got = np.append(self.wanted[:5], np.float32(0.5))
        assert parity.same_order(self.wanted, got, tie=0)


def test_the_table_names_figures_and_limits(loaded: LoadedModel, changed: Callable[..., Path]) -> None:
    lines = parity.table(parity.judge(loaded, changed(scale_weight(4, 1.5)))).splitlines()
    row = next(line.split() for line in lines if line.split()[0] == "logits_photos")
    assert row[1] == "FAILED"
    assert float(row[2]) > float(row[4])
