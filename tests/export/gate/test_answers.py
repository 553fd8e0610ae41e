"""The gate and heads: what counts as the same answer, and outputs that are probabilities already."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from tests.data import LABELS
from tests.models import network, preset
from torch import nn

from torchless import Classifier
from torchless.engine.head import Head, sigmoid, softmax
from torchless.errors import UsageError
from torchless.proof.answers import same_answer
from torchless_export.errors import ParityError
from torchless_export.export import export_model
from torchless_export.gate.answers import answers, certainty, check_activation, ends_bounded
from torchless_export.gate.decisions import decide
from torchless_export.sources.request import ModelRequest

ABC = ("a", "b", "c")
SINGLE, BINARY = Head(ABC, "softmax", 3), Head(("no", "yes"), "sigmoid", 1)
MULTI = Head(ABC, "sigmoid", 3, (0.5, 0.5, 0.9))
LOGITS = np.random.default_rng(0).normal(scale=3, size=(50, 3))


def test_answers_and_how_certain_they_are() -> None:
    outputs = np.array([[1.0, -2.0, 2.0], [-1.0, -2.0, 3.0]])
    assert answers(SINGLE, outputs).tolist() == [[2], [2]]
    assert answers(MULTI, outputs).tolist() == [[1, 0, 0], [0, 0, 1]]
    assert answers(BINARY, outputs[:, :1]).tolist() == [[1], [0]]
    np.testing.assert_allclose(certainty(BINARY, outputs[:, :1]), sigmoid(np.array([1.0, 1.0])))
    np.testing.assert_allclose(certainty(MULTI, outputs), [1 - sigmoid(np.array(2.0)), sigmoid(np.array(1.0))])


@pytest.mark.parametrize(
    ("head", "wanted", "got", "needed"),
    [
        (SINGLE, [1.0, 1.5, 0.0], [1.5, 1.0, 0.0], 0.25),
        (BINARY, [0.25], [-0.25], 0.25),
        (MULTI, [0.25, 1.0, 0.0], [-0.25, 1.0, 0.0], 0.25),
        (MULTI, [3.0, -3.0, 2.4472], [3.0, -3.0, 2.1], 0.25),  # 0.9 is a logit of 2.1972
    ],
)
def test_an_answer_may_change_where_it_is_as_near_as_the_error(
    head: Head, wanted: list[float], got: list[float], needed: float
) -> None:
    assert same_answer(head, np.array(wanted), np.array(got), needed + 0.001)
    assert not same_answer(head, np.array(wanted), np.array(got), needed - 0.001)


def test_an_artifact_below_float32_has_to_find_the_same_classes() -> None:
    got = LOGITS.copy()
    got[0, 0] = -got[0, 0]  # one class of one image
    found = decide(LOGITS, got, MULTI)
    assert (found.same, found.images, found.multi_label) == (49, 50, True)
    assert str(found).startswith("same classes on 98.00 %")
    assert decide(LOGITS, LOGITS, MULTI).same == 50


class Ended(nn.Module):
    """A network that ends in something."""

    def __init__(self, end: Callable[[torch.Tensor], torch.Tensor], outputs: int = len(LABELS)) -> None:
        super().__init__()
        self.body, self.end, self.outputs = network(), end, outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.end(self.body(x)[:, : self.outputs])


def export(module: nn.Module, path: Path, labels: tuple[str, ...] = LABELS, **head: object) -> Classifier:
    export_model(module, transform=preset(), labels=labels, output=path / "m.onnx", **head)  # type: ignore[arg-type]
    return Classifier(path / "m.onnx", device="cpu")


def test_a_softmax_at_the_end_is_noticed_and_none_is_right(tmp_path: Path, photos: Path) -> None:
    ended = Ended(lambda logits: logits.softmax(1))
    with pytest.raises(ParityError, match=r"add up to 1\): the network ends in a softmax; give `activation` none"):
        export(ended, tmp_path)
    found = export(ended, tmp_path, activation="none")
    assert not found.head.multi_label
    (best, *_), logits = found.classify(photos / "rocket.jpg").predictions, found.logits([photos / "rocket.jpg"])
    assert best.probability == pytest.approx(float(logits.max()))


def test_a_sigmoid_at_the_end_is_noticed_and_needs_a_threshold(tmp_path: Path, photos: Path) -> None:
    ended = Ended(lambda logits: logits.sigmoid())
    for activation in ("softmax", "sigmoid"):
        with pytest.raises(ParityError, match="ends in a sigmoid; give `activation` none with `threshold`"):
            export(ended, tmp_path, activation=activation)
    with pytest.raises(ParityError, match="each class is decided by itself: give `threshold` too"):
        export(ended, tmp_path, activation="none")
    found = export(ended, tmp_path, activation="none", threshold=(0.5, 0.5, 0.5, 0.5, 0.9999))
    assert found.manifest.output.thresholds == (0.5, 0.5, 0.5, 0.5, 0.9999)
    logits = found.logits([photos / "coffee.png"])[0]
    predictions = found.classify(photos / "coffee.png").predictions
    assert {each.index for each in predictions} == set(np.flatnonzero(logits >= [0.5, 0.5, 0.5, 0.5, 0.9999]))


def test_logits_are_no_probabilities(tmp_path: Path) -> None:
    with pytest.raises(ParityError, match="the outputs are no probabilities .*: give `activation` softmax or sigmoid"):
        export(network(), tmp_path, activation="none")


def test_one_logit_has_a_sigmoid_and_one_label_or_two(tmp_path: Path, photos: Path) -> None:
    one = Ended(lambda logits: logits, outputs=1)
    for labels in (("defect",), ("fine", "defect")):
        with pytest.raises(UsageError, match="of which a softmax always makes 1.0: give `activation` sigmoid"):
            export(one, tmp_path, labels)
        found = export(one, tmp_path, labels, activation="sigmoid")
        logit = torch.tensor(found.logits([photos / "rocket.jpg"])[0, 0])
        probabilities = {each.label: each.probability for each in found.classify(photos / "rocket.jpg").predictions}
        assert probabilities["defect"] == pytest.approx(float(logit.sigmoid()), rel=1e-6)
    with pytest.raises(UsageError, match="`threshold` is for multi-label models; with 2 labels, 1 output and"):
        export(one, tmp_path, ("fine", "defect"), activation="sigmoid", threshold=0.4)


def test_each_sigmoid_stands_for_itself(tmp_path: Path, photos: Path) -> None:
    found = export(network(), tmp_path, activation="sigmoid", threshold=0.3)
    logits = torch.from_numpy(found.logits([photos / "chelsea.png"])[0])
    rows = {each.index: each.probability for each in found.classify(photos / "chelsea.png").predictions}
    assert rows == pytest.approx({i: float(p) for i, p in enumerate(logits.sigmoid()) if p >= 0.3}, rel=1e-6)
    assert {check.name for check in found.manifest.parity.checks} >= {"decision", "activation"}  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"activation": "softmax", "threshold": 0.5},
            "`threshold` is for multi-label models; with 5 labels, 5 outputs",
        ),
        ({"activation": "sigmoid", "threshold": 1.0}, "between 0 and 1, got 1"),
        ({"activation": "sigmoid", "threshold": (0.5, 0.5)}, "2 numbers for 5 labels"),
    ],
)
def test_thresholds_that_fit_no_head(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        export(network(), tmp_path, **options)
    with pytest.raises(UsageError, match=message):
        export_model(ModelRequest(model="m", builder="tests.models:tiny", **options), output=tmp_path / "m.onnx")


def test_small_logits_are_no_false_alarm(tiny: Path) -> None:
    """All in 0..1, as an untrained network's may be: only their sum, or the graph's end, makes probabilities."""
    graph = onnx.load(tiny).graph
    assert not ends_bounded(graph)
    small = sigmoid(LOGITS)
    assert check_activation(MULTI, small, graph).passed
    assert check_activation(SINGLE, small, graph).passed
    assert not check_activation(SINGLE, softmax(LOGITS), graph).passed
    for _ in range(100):
        assert check_activation(SINGLE, np.random.default_rng(_).normal(size=(16, 3)), graph).passed
