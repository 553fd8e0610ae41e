"""Faults of the PyTorch network itself: named as such, with the module, before any exporter is tried."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.models import network
from torch import nn
from torch.nn import functional

from torchless.model.manifest import Check
from torchless_export import export
from torchless_export.errors import ParityError
from torchless_export.gate.checks import check
from torchless_export.gate.reference import check_reference
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import ModelRequest


@pytest.fixture
def loaded() -> LoadedModel:
    return load(ModelRequest(model="tiny", builder="tests.models:tiny"))


class Then(nn.Module):
    """A function in the forward of a module."""

    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x)


class AlwaysOn(nn.Dropout):
    def train(self, mode: bool = True) -> nn.Dropout:
        return super().train(True)


class AlwaysTraining(nn.BatchNorm2d):
    def train(self, mode: bool = True) -> nn.BatchNorm2d:
        return super().train(True)


def with_module(index: int, module: nn.Module) -> nn.Module:
    """The tiny network with another module in place of one of its own."""
    body = network()
    body[index] = module
    return body.eval()


def then(function: Callable[[torch.Tensor], torch.Tensor]) -> nn.Module:
    return nn.Sequential(network(), Then(function))


AGAIN, TOGETHER = "a photo other logits when it is asked again, by ", "other logits in a batch of two than alone, by "


@pytest.mark.parametrize(
    ("module", "messages"),
    [
        pytest.param(
            with_module(5, Then(lambda x: functional.dropout(x.relu(), 0.5))),
            [AGAIN, "It happens in 5 (Then): ", "F.dropout(x, p, training=self.training)"],
            id="dropout in a forward",
        ),
        pytest.param(
            with_module(2, AlwaysOn(0.5)),
            [AGAIN, "It happens in 2 (AlwaysOn): it is in training mode even after module.eval()"],
            id="dropout that stays on",
        ),
        pytest.param(
            with_module(1, nn.BatchNorm2d(8, track_running_stats=False)),
            [TOGETHER, "It happens in 1 (BatchNorm2d): it has no running statistics", "track_running_stats=True"],
            id="a batch norm without running statistics",
        ),
        pytest.param(
            with_module(1, AlwaysTraining(8)),
            [TOGETHER, "It happens in 1 (AlwaysTraining): it is in training mode even after module.eval()"],
            id="a batch norm that stays in training mode",
        ),
        pytest.param(
            then(lambda x: x - 0.5 * x.mean(0)),
            [TOGETHER, "It happens in 1 (Then): ", "over the batch axis"],
            id="a mean over the batch",
        ),
        pytest.param(
            then(lambda x: x.view(1, 5)),
            ["cannot run the network on two photos at once (shape '[1, 5]' is invalid"],
            id="a batch axis of one",
        ),
        pytest.param(
            then(lambda x: x.view(1, -1)),
            ["gives logits of shape (1, 5) for one photo, (1, 10) for two"],
            id="photos in a row",
        ),
        pytest.param(then(lambda x: x.log() * 0), ["own logits of a photo are NaN or infinite"], id="NaN"),
    ],
)
def test_a_fault_is_named_with_its_module(loaded: LoadedModel, module: nn.Module, messages: list[str]) -> None:
    torch.manual_seed(0)
    found = check_reference(replace(loaded, module=module))
    assert (found.name, found.passed) == ("reference", False)
    assert found.figure > found.limit
    assert [message for message in messages if message not in found.detail] == []


def test_in_the_forward_of_the_network_itself(loaded: LoadedModel) -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = network()

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x - x.mean(0))

    assert "It happens in the network itself (Mixing): " in check_reference(replace(loaded, module=Mixing())).detail


@pytest.mark.parametrize(("share", "passes"), [(1e-4, True), (1e-2, False)])
def test_rounding_in_another_batch_is_no_fault(loaded: LoadedModel, share: float, passes: bool) -> None:
    module = then(lambda x: x * (1 + share * len(x)))
    found = check_reference(replace(loaded, module=module))
    assert found.passed is passes
    assert found.figure == pytest.approx(share, rel=0.1)


def test_a_sound_network_hardly_moves(loaded: LoadedModel) -> None:
    """Whatever mode it comes in."""
    found = check_reference(replace(loaded, module=loaded.module.train()))
    assert found.passed
    assert found.figure < 1e-5


def test_no_exporter_is_tried(loaded: LoadedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(export, "load", lambda _: replace(loaded, module=then(functional.dropout)))
    with pytest.raises(ParityError, match=r"^x.onnx was not written: PyTorch gives a photo other logits") as caught:
        export.export_model(ModelRequest(model="x"), output=tmp_path / "x.onnx", progress=said.append)
    assert caught.value.failed == ["reference"]
    assert said == ["loading x"]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_compared_with_it(loaded: LoadedModel, tiny: Path) -> None:
    fault = Check(name="reference", passed=False, figure=1, limit=0, detail="")
    verdict = check(loaded, tiny, first=[fault])
    assert [each.name for each in verdict.parity.checks] == ["reference", "structure"]
    assert (verdict.failed, verdict.evidence, verdict.departure) == (["reference"], None, None)
