"""Ten ways in which an export once passed and answered wrongly: each now gives the right answer, or is refused with the
likely cause.

`recorded` are the user's own answers: what their module and their transform give, and what they make of it.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data import LABELS
from tests.models import network, preset
from torch import nn
from torchvision.models import googlenet, shufflenet_v2_x0_5
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from torchless import Classifier
from torchless.errors import UsageError
from torchless.expected import causes
from torchless.expected.check import check_expected
from torchless.model.preprocessing import PreprocessChanges, parse_crop, parse_resize
from torchless_export import ModelRequest, ParityError, export_model, record
from torchless_export.sources import images
from torchless_export.sources.load import load

SIZES = ((90, 64), (64, 90), (120, 70))
Recorded = Callable[..., Path]
Export = Callable[..., Path]


@pytest.fixture
def photos() -> list[Image.Image]:
    return [photo.image.resize(size) for photo, size in zip(images.photos(), SIZES, strict=False)]


@pytest.fixture
def recorded(photos: list[Image.Image], tmp_path: Path) -> Recorded:
    def write(module: nn.Module, transform: Any = None, **options: Any) -> Path:
        record(module, transform or preset(), photos, tmp_path / "answers.jsonl", **options)
        return tmp_path / "answers.jsonl"

    return write


@pytest.fixture
def export(tmp_path: Path) -> Export:
    """Exports through the gate; the TorchScript exporter is the faster one for small networks."""

    def make(model: nn.Module | ModelRequest, **options: Any) -> Path:
        if isinstance(model, nn.Module):
            options = {"transform": preset(), "labels": LABELS} | options
        export_model(model, output=tmp_path / "model.onnx", exporter="torchscript", **options)
        return tmp_path / "model.onnx"

    return make


def softmax(output: torch.Tensor) -> torch.Tensor:
    return output.softmax(dim=1)


def answers(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def fails(export: Export, model: nn.Module | ModelRequest, cause: str, **options: Any) -> None:
    with pytest.raises(ParityError) as caught:
        export(model, **options)
    assert caught.value.failed == ["expected"]
    assert f"likely cause: {cause}" in str(caught.value)


class TestOneLogit:
    """1: a network that ends in one logit, trained with BCEWithLogitsLoss."""

    labels = ("fine", "defect")

    def module(self) -> nn.Module:
        torch.manual_seed(5)
        return nn.Sequential(network(), nn.Linear(len(LABELS), 1))

    def test_softmax_is_refused(self, export: Export) -> None:
        for labels in (self.labels, ("defect",)):
            with pytest.raises(UsageError, match="give `activation` sigmoid"):
                export(self.module(), labels=labels)

    def test_sigmoid_decides_between_two_labels(
        self, recorded: Recorded, export: Export, photos: list[Image.Image]
    ) -> None:
        file = recorded(self.module(), probabilities=torch.sigmoid, labels=self.labels)
        model = export(self.module(), labels=self.labels, activation="sigmoid", expect=file)
        for photo, row in zip(photos, answers(file), strict=True):
            best = Classifier(model, device="cpu").classify(photo).predictions[0]
            (probability,) = row["probabilities"]
            assert best.label == row["label"]
            assert best.probability == pytest.approx(max(probability, 1 - probability), abs=1e-5)

    def test_labels_the_wrong_way_round(self, recorded: Recorded, export: Export) -> None:
        file = recorded(self.module(), probabilities=torch.sigmoid, labels=self.labels)
        cause = "the class order: "
        fails(export, self.module(), cause, labels=self.labels[::-1], activation="sigmoid", expect=file)


def test_a_sigmoid_for_each_class(recorded: Recorded, export: Export, photos: list[Image.Image]) -> None:
    """2: a multi-label network, of whose logits torchless makes a softmax unless it is told."""
    file = recorded(network(), probabilities=torch.sigmoid)
    fails(export, network(), "the head: the probabilities are the sigmoid of the network's outputs", expect=file)
    model = export(network(), activation="sigmoid", expect=file)
    (first, *_) = answers(file)
    shown = Classifier(model, device="cpu").classify(photos[0]).predictions
    wanted = {LABELS[i]: p for i, p in enumerate(first["probabilities"]) if p >= 0.5}
    assert {each.label: each.probability for each in shown} == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize(
    ("last", "given"),
    [(nn.Softmax(dim=1), {"activation": "none"}), (nn.Sigmoid(), {"activation": "none", "threshold": 0.5})],
)
def test_a_forward_that_ends_in_probabilities(
    recorded: Recorded, export: Export, photos: list[Image.Image], last: nn.Module, given: dict[str, Any]
) -> None:
    """3: of which torchless would make another softmax."""
    module = nn.Sequential(network(), nn.Linear(len(LABELS), 30), last).eval()
    labels = tuple(f"class {i}" for i in range(30))
    file = recorded(module)
    cause = "the head: the network gives probabilities already, of which softmax makes others; give `activation` none"
    with pytest.raises(ParityError) as caught:
        export(module, labels=labels, expect=file)
    assert cause in str(caught.value)
    model = export(module, labels=labels, expect=file, **given)
    wanted = max(answers(file)[0]["logits"])
    shown = Classifier(model, device="cpu").classify(photos[0], top_k=1).predictions[0]
    assert shown.probability == pytest.approx(wanted, abs=1e-5)


def test_squeezed_images(recorded: Recorded, export: Export) -> None:
    """4: trained with Resize((32, 32)), and exported with the short side at 32 and a crop."""
    squeeze = v2.Compose(
        [
            v2.Resize((32, 32)),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize((0.5,) * 3, (0.5,) * 3),
        ]
    )
    cropped = ImageClassification(crop_size=32, resize_size=32, mean=(0.5,) * 3, std=(0.5,) * 3)
    file = recorded(network(), squeeze)
    fails(export, network(), "the transform: ", transform=cropped, expect=file)
    export(network(), transform=squeeze, expect=file)


@pytest.mark.slow
def test_squeezed_images_on_a_real_network(lite0: Path, tmp_path: Path) -> None:
    """4, with real weights, on an artifact that passed the gate with torchvision's usual short side and crop."""
    from torchless.expected.answers import read_expected

    loaded = load(ModelRequest(model="efficientnet_lite0", builder="examples.efficientnet_lite:lite0"))
    spec = loaded.preprocess
    squeeze = v2.Compose([v2.Resize((224, 224), v2.InterpolationMode(spec.interpolation)), v2.ToImage()])
    normalise = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize(spec.mean, spec.std)])
    photos = [photo.image for photo in images.photos()[:4]]
    record(loaded.module, v2.Compose([squeeze, normalise]), photos, tmp_path / "answers.jsonl")
    found = check_expected(Classifier(lite0, device="cpu"), read_expected(tmp_path / "answers.jsonl"))
    assert not found.passed
    assert "likely cause: the transform: " in found.detail
    assert found.detail.endswith("give `resize` 224x224")


def checkpoint_of(module: nn.Module, folder: Path) -> Path:
    torch.save(module.state_dict(), folder / "mine.pth")
    return folder / "mine.pth"


def lively(module: nn.Module) -> nn.Module:
    """With batch statistics as after training, so that logits differ from image to image."""
    batch = torch.stack([preset()(photo.image) for photo in images.photos()])
    for norm in (each for each in module.modules() if isinstance(each, nn.BatchNorm2d)):
        norm.momentum = None
    with torch.no_grad():
        module.train()(batch)
        module.fc.weight.mul_(20)
    return module.eval()


def test_a_network_of_the_same_names_and_shapes(
    recorded: Recorded, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5: without the first stride and the pooling, as for CIFAR; the checkpoint does not show it."""
    monkeypatch.setattr(causes, "MAX_SECONDS", 0.0)  # nothing else explains it, however long one looks
    torch.manual_seed(1)
    module = shufflenet_v2_x0_5(num_classes=5)
    module.conv1[0].stride, module.maxpool = (1, 1), nn.Identity()
    file = recorded(lively(module))
    checkpoint = checkpoint_of(module, tmp_path)
    request = ModelRequest(model="shufflenet_v2_x0_5", checkpoint=checkpoint, labels=LABELS, changes=small())
    fails(export, request, "the architecture or the weights: ", expect=file)


def small() -> PreprocessChanges:
    """What makes `preset` of the preprocessing of torchvision's weights."""
    return PreprocessChanges(
        resize=parse_resize("37"),
        crop=parse_crop("32"),
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
        interpolation="bicubic",
    )


@pytest.mark.slow
def test_googlenet_from_scratch(recorded: Recorded, export: Export, tmp_path: Path) -> None:
    """6: torchvision's weights need transform_input, a network trained from scratch does not have it."""
    torch.manual_seed(1)
    module = googlenet(num_classes=5, aux_logits=False, init_weights=False, transform_input=False)
    file = recorded(lively(module))
    request = ModelRequest(
        model="googlenet", checkpoint=checkpoint_of(module, tmp_path), labels=LABELS, changes=small()
    )
    fails(export, request, "the transform: ", expect=file)
    export(module, expect=file)


def test_mean_and_std_of_pixels(export: Export) -> None:
    """7: numbers for values of 0 to 255."""
    changes = PreprocessChanges(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
    with pytest.raises(UsageError, match=r"divide by 255 \(0.485,0.456,0.406\)"):
        export(ModelRequest(model="tiny", builder="tests.models:tiny", changes=changes))


class Inverted(ImageClassification):
    """A transform that is not what its attributes say."""

    def forward(self, image: Any) -> torch.Tensor:
        return 1 - super().forward(image)


def inverted() -> tuple[nn.Module, Any, tuple[str, ...]]:
    given = Inverted(crop_size=32, resize_size=37, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
    return network(), given, LABELS


def test_a_transform_with_a_forward_of_its_own(export: Export) -> None:
    """8: it is called, or refused by name; never read and then forgotten."""
    with pytest.raises((UsageError, ParityError), match=r"Inverted|preprocessing +FAILED"):
        export(ModelRequest(model="tiny", builder=f"{__name__}:inverted"))


@pytest.mark.slow
def test_a_checkpoint_for_another_size(
    recorded: Recorded, export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """9: trained at 64 pixels with a mean of 0.5, and exported with nothing but the checkpoint."""
    monkeypatch.setattr(causes, "MAX_SECONDS", 600.0)  # on a busy machine too
    module = load(ModelRequest(model="shufflenet_v2_x0_5", weights="none", num_classes=5)).module
    trained = ImageClassification(crop_size=64, resize_size=64, mean=(0.5,) * 3, std=(0.5,) * 3)
    file, checkpoint = recorded(module, trained), checkpoint_of(module, tmp_path)
    request = ModelRequest(model="shufflenet_v2_x0_5", checkpoint=checkpoint, labels=LABELS)
    with pytest.raises(ParityError) as caught:
        export(request, expect=file)
    assert "give `resize` 64 `crop` 64x64 `mean` 0.5,0.5,0.5 `std` 0.5,0.5,0.5" in str(caught.value)
    export(module, transform=trained, expect=file)


class TestLabels:
    """10: a file of labels that is not read as its author meant it."""

    @pytest.mark.parametrize(
        "text", ["{0: 'ant',\n1: 'bee',\n2: 'cat',\n3: 'dog',\n4: 'eel'}\n", "eel 4\nant 0\nbee 1\ncat 2\ndog 3\n"]
    )
    def test_they_are_read_as_what_they_are(
        self, recorded: Recorded, export: Export, tmp_path: Path, text: str
    ) -> None:
        (tmp_path / "labels.txt").write_text(text)
        names = ("ant", "bee", "cat", "dog", "eel")
        file = recorded(network(), labels=names)
        model = export(network(), labels=tmp_path / "labels.txt", expect=file)
        assert Classifier(model, device="cpu").labels == names

    def test_another_order_is_noticed(self, recorded: Recorded, export: Export) -> None:
        file = recorded(network(), labels=LABELS)
        fails(export, network(), "the class order: class ", labels=(*LABELS[1:], LABELS[0]), expect=file)
        assert np.unique([row["label"] for row in answers(file)]).size > 0
