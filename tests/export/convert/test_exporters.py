"""torch's two exporters: the second is taken where the first fails, and says so."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from onnx.reference import ReferenceEvaluator
from tests.conftest import REPO
from tests.models import Unexportable

from torchless import Classifier
from torchless.errors import UsageError
from torchless.model.onnxfile import read_onnx
from torchless_export.convert import to_onnx
from torchless_export.convert.exporters import EXPORTERS
from torchless_export.errors import ExportError, ParityError
from torchless_export.export import Exported, export_model
from torchless_export.sources.request import ModelRequest

Break = Callable[..., onnx.ModelProto]


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[Exported, list[str]]]:
    monkeypatch.chdir(REPO)

    def call(builder: str = "tiny", **options: object) -> tuple[Exported, list[str]]:
        said: list[str] = []
        request = ModelRequest(model="tiny", builder=f"tests.models:{builder}")
        return export_model(request, output=tmp_path / "out" / "tiny.onnx", progress=said.append, **options), said

    return call


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Callable[[str, Break], None]:
    """Puts something else in the place of one exporter."""

    def replace(exporter: str, convert: Break) -> None:
        monkeypatch.setattr(to_onnx, f"_with_{exporter}", convert)

    return replace


def fails(*_: object) -> onnx.ModelProto:
    raise RuntimeError("an operator is not supported")


def wrong(real: Break) -> Break:
    """An exporter whose model is a little off, as dynamo's was on these very networks (FIELD.md)."""

    def convert(module: torch.nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
        model = real(module, example, opset)
        weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
        weight.CopyFrom(numpy_helper.from_array((numpy_helper.to_array(weight) * 1.02).astype(np.float32), weight.name))
        return model

    return convert


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_either_can_be_asked_for(export, exporter: str, photos: Path, tiny: Path) -> None:
    exported, said = export(exporter=exporter)
    assert exported.manifest.produced_by.exporter == exporter
    assert [line for line in said if "does not work here" in line] == []
    image = photos / "coffee.png"
    ours, theirs = (
        Classifier(exported.path, device="cpu").logits([image]),
        Classifier(tiny, device="cpu").logits([image]),
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_an_exporter_that_fails(export, broken) -> None:
    broken("dynamo", fails)
    exported, said = export()
    assert exported.manifest.produced_by.exporter == "torchscript"
    assert (
        "torch's dynamo exporter failed: an operator is not supported\nthe dynamo exporter does not work here; "
        "trying the next one" in said
    )


def test_an_exporter_whose_model_fails_the_gate(export, broken) -> None:
    broken("dynamo", wrong(to_onnx._with_dynamo))
    exported, said = export()
    assert exported.manifest.produced_by.exporter == "torchscript"
    (cause,) = [line for line in said if "does not work here" in line]
    assert "the dynamo exporter's model does not give PyTorch's answers" in cause
    assert "logits_photos  FAILED" in cause


def test_both_fail(export, broken, tmp_path: Path) -> None:
    broken("dynamo", wrong(to_onnx._with_dynamo))
    broken("torchscript", fails)
    with pytest.raises(ParityError) as caught:
        export()
    assert caught.value.exit_code == 5
    assert "logits_photos  FAILED" in str(caught.value)
    assert "torch's torchscript exporter failed: an operator is not supported" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_second_try_where_one_was_asked_for(export, broken) -> None:
    broken("dynamo", fails)
    with pytest.raises(
        ExportError, match="tiny.onnx was not written: torch's dynamo exporter failed: an operator is not supported$"
    ):
        export(exporter="dynamo")


def test_no_second_try_where_it_cannot_help(export) -> None:
    with pytest.raises(ParityError) as caught:
        export("zero_head")
    assert caught.value.failed == ["not_vacuous"]
    assert "torchscript" not in str(caught.value)


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_a_failing_exporter_prints_nothing(exporter: str, capfd: pytest.CaptureFixture[str]) -> None:
    """torch's own would print the whole graph."""
    with pytest.raises(ExportError):
        to_onnx.to_onnx(Unexportable(), (3, 32, 32), exporter=exporter)
    printed = capfd.readouterr()
    assert (printed.out, printed.err) == ("", "")


@pytest.mark.parametrize(("opset", "ir_version"), [(18, 8), (17, 8), (9, 4)])
def test_an_older_opset_has_an_ir_version_of_its_time(export, opset: int, ir_version: int) -> None:
    exported, said = export(opset=opset)
    made, file = exported.manifest.produced_by, read_onnx(exported.path)
    assert (made.exporter, made.opset) == ("dynamo" if opset >= 18 else "torchscript", opset)
    assert (file.opsets, file.ir_version) == ({"ai.onnx": opset}, ir_version)
    assert [line for line in said if "does not work here" in line] == []


@pytest.mark.parametrize("opset", [17, 18])
def test_a_mean_is_split_in_either_spelling(opset: int) -> None:
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()).eval()
    model = to_onnx.to_onnx(body, (3, 16, 16), exporter="torchscript", opset=opset)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["Conv", "ReduceMean", "GlobalAveragePool", "Flatten"]
    image = torch.rand(2, 3, 16, 16)
    (got,) = ReferenceEvaluator(model).run(None, {"input": image.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(got, body(image).numpy(), atol=1e-6)


@pytest.mark.parametrize(("opset", "exporter"), [(17, "dynamo"), (8, "auto"), (21, "torchscript")])
def test_an_opset_that_no_exporter_writes(export, opset: int, exporter: str, tmp_path: Path) -> None:
    with pytest.raises(
        UsageError,
        match=f"`opset` {opset} cannot be written with `exporter` {exporter}: the dynamo exporter writes 18 to 20, the "
        "torchscript exporter writes 9 to 20",
    ):
        export(opset=opset, exporter=exporter)
    assert list(tmp_path.iterdir()) == []


def test_an_exporter_that_there_is_not(export) -> None:
    with pytest.raises(UsageError, match="unknown exporter 'onnx'; it is one of auto, dynamo, torchscript"):
        export(exporter="onnx")


def test_another_opset_than_the_one_asked_for_is_no_success(export, broken) -> None:
    """torch's dynamo exporter keeps its own where it cannot convert the model, and says so in its log alone."""
    real = to_onnx._with_dynamo
    broken("dynamo", lambda module, example, opset: real(module, example, 18))
    with pytest.raises(ExportError, match="torch's dynamo exporter wrote opset 18, not 20$"):
        export(exporter="dynamo")


def test_what_the_exporters_say_of_themselves_is_not_shown(export, broken, caplog) -> None:
    def talks(module: torch.nn.Module, example: torch.Tensor, opset: int) -> onnx.ModelProto:
        logging.getLogger("torch.onnx").warning("missing annotation")
        warnings.warn("deprecated", stacklevel=1)
        logging.getLogger("torch.onnx").error("error while creating guard")
        return real(module, example, opset)

    real = to_onnx._with_torchscript
    broken("torchscript", talks)
    export(exporter="torchscript")
    logging.getLogger("torch.onnx").warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]
