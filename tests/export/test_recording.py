"""record: the user's pipeline, written so that the gate and verify can read it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from tests.data import LABELS
from tests.models import network, preset
from torch import nn

from torchless import Classifier
from torchless.errors import UsageError
from torchless.expected.answers import read_expected
from torchless.expected.check import check_expected
from torchless_export import record
from torchless_export.sources import images


def softmax(output: torch.Tensor) -> torch.Tensor:
    return output.softmax(dim=1)


def test_what_is_recorded_is_what_the_artifact_gives(tiny: Path, tmp_path: Path) -> None:
    photos = [photo.image for photo in images.photos()[:3]]
    photos[0].save(tmp_path / "first.png")
    given = [tmp_path / "first.png", (tmp_path / "first.png").read_bytes(), *photos[1:]]
    record(network(), preset(), given, tmp_path / "answers.jsonl", probabilities=softmax, labels=LABELS)
    (tmp_path / "first.png").unlink()  # the images are in the file
    found = read_expected(tmp_path / "answers.jsonl")
    assert [row.image for row in found.rows] == ["first.png", "image 1", "image 2", "image 3"]
    check = check_expected(Classifier(tiny, device="cpu"), found)
    assert check.passed, check.detail
    assert "not compared" not in check.detail


def test_the_module_is_evaluated_and_left_as_it_was(tmp_path: Path) -> None:
    module = nn.Sequential(network(), nn.Dropout(0.5)).train()
    module[0].eval()
    photos = [photo.image for photo in images.photos()[:1]]
    for name in ("one", "two"):
        record(module, preset(), photos, tmp_path / name)
    assert (tmp_path / "one").read_text() == (tmp_path / "two").read_text()
    assert (module.training, module[0].training, module[1].training) == (True, False, True)


@pytest.mark.parametrize(
    ("outputs", "probabilities", "labels", "label"),
    [
        ([1.0, 3.0, 2.0], None, "abc", "b"),
        ([-0.1], None, ("no", "yes"), "no"),
        ([0.1], None, ("no", "yes"), "yes"),
        ([0.1], torch.sigmoid, ("no", "yes"), "yes"),
        ([0.4], lambda output: output, ("no", "yes"), "no"),
    ],
)
def test_labels(tmp_path: Path, outputs: list[float], probabilities: Any, labels: Any, label: str) -> None:
    record(Constant(outputs), preset(), [grey()], tmp_path / "a", probabilities=probabilities, labels=labels)
    assert json.loads((tmp_path / "a").read_text())["label"] == label


class Constant(nn.Module):
    def __init__(self, outputs: Any) -> None:
        super().__init__()
        self.outputs = outputs

    def forward(self, _: torch.Tensor) -> Any:
        return torch.tensor([self.outputs]) if isinstance(self.outputs, list) else self.outputs


def grey() -> Image.Image:
    return Image.new("RGB", (40, 40), "grey")


@pytest.mark.parametrize(
    ("module", "transform", "given", "reason"),
    [
        (Constant([1.0]), preset(), [], "there is no image to record"),
        (Constant([1.0]), preset(), [b"no image"], "cannot read the image image 0: cannot identify image file"),
        (Constant([1.0]), preset(), ["nowhere.png"], r"cannot read nowhere.png: No such file"),
        (Constant([1.0]), lambda image: image, [grey()], r"must give a tensor \(channels, height, width\), got Image"),
        (Constant([[1.0]]), preset(), [grey()], r"must give a tensor \(1, classes\), got \(1, 1, 1\)"),
        (Constant("logits"), preset(), [grey()], r"must give a tensor \(1, classes\), got str"),
    ],
)
def test_what_cannot_be_recorded(
    tmp_path: Path, module: nn.Module, transform: Callable, given: list, reason: str
) -> None:
    with pytest.raises(UsageError, match=reason):
        record(module, transform, given, tmp_path / "answers.jsonl")
    assert not (tmp_path / "answers.jsonl").exists()


def test_the_labels_must_fit(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there are 2 labels, the module gives 5 classes"):
        record(network(), preset(), [grey()], tmp_path / "answers.jsonl", labels=("a", "b"))


def test_the_file_stays_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless_export.recording.MAX_FILE_BYTES", 1000)
    with pytest.raises(UsageError, match="give fewer images"):
        record(network(), preset(), [images.photos()[0].image], tmp_path / "answers.jsonl")
