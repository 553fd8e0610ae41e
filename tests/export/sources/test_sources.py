"""Checkpoints, builders and random weights; tests/export/sources/test_weights.py has the pretrained ones."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file
from tests import models

from torchless.errors import UsageError
from torchless_export.errors import WeightsError
from torchless_export.sources.catalog import imagenet_labels
from torchless_export.sources.labels import labels_for
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest


def squeezenet(num_classes: int = 1000) -> torch.nn.Module:
    torch.manual_seed(1)
    return torchvision.models.squeezenet1_1(weights=None, num_classes=num_classes)


@pytest.mark.parametrize("name", ["mine.pth", "mine.pt", "mine.safetensors"])
def test_a_checkpoint_of_a_torchvision_model(tmp_path: Path, name: str) -> None:
    state, path = squeezenet().state_dict(), tmp_path / name
    save_file(state, path) if name.endswith("safetensors") else torch.save(state, path)
    loaded = load(ModelRequest(model="squeezenet1_1", checkpoint=path))
    assert all(torch.equal(value, state[key]) for key, value in loaded.module.state_dict().items())
    assert not loaded.module.training
    assert (loaded.info.weights, loaded.info.source, loaded.info.url) == (name, "torchvision", None)
    assert len(loaded.info.sha256) == 64
    assert loaded.published is None
    assert loaded.labels == imagenet_labels()


def test_counters_that_old_checkpoints_lack(tmp_path: Path) -> None:
    state = torchvision.models.shufflenet_v2_x0_5(weights=None).state_dict()
    torch.save(
        {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}, tmp_path / "old.pth"
    )
    loaded = load(ModelRequest(model="shufflenet_v2_x0_5", checkpoint=tmp_path / "old.pth"))
    assert torch.equal(loaded.module.state_dict()["fc.bias"], state["fc.bias"])


def test_another_number_of_classes_needs_their_names(tmp_path: Path) -> None:
    path, labels = tmp_path / "mine.pth", tmp_path / "labels.txt"
    torch.save(squeezenet(num_classes=3).state_dict(), path)
    request = ModelRequest(model="squeezenet1_1", checkpoint=path)
    with pytest.raises(UsageError, match="the checkpoint has 3 classes; give their names as `labels`"):
        load(request)
    labels.write_text("a\nb\nc\n")
    assert load(replace(request, labels=labels)).labels == ("a", "b", "c")
    labels.write_text("a\nb\n")
    with pytest.raises(UsageError, match=r"labels.txt holds 2 labels, the model has 3 classes"):
        load(replace(request, labels=labels))


def test_a_checkpoint_that_does_not_fit_names_the_keys(tmp_path: Path) -> None:
    state, path = squeezenet().state_dict(), tmp_path / "mine.pth"
    del state["features.0.bias"]
    state["features.0.weight"] = torch.zeros(64, 3, 5, 5)
    state["surplus"] = torch.zeros(1)
    torch.save(state, path)
    with pytest.raises(WeightsError) as caught:
        load(ModelRequest(model="squeezenet1_1", checkpoint=path))
    assert (
        "1 missing from the file: features.0.bias; 1 not in the model: surplus; 1 of another shape: features.0.weight"
        in str(caught.value)
    )
    assert "(64×3×5×5 in the file, 64×3×3×3 in the model)" in str(caught.value)


def test_a_checkpoint_of_another_model(tmp_path: Path) -> None:
    torch.save(torchvision.models.alexnet(weights=None, num_classes=2).state_dict(), tmp_path / "mine.pth")
    with pytest.raises(
        WeightsError, match=r"missing from the file: features.0.bias|missing from the file: features.3.squeeze.weight"
    ):
        load(ModelRequest(model="squeezenet1_1", checkpoint=tmp_path / "mine.pth"))


class Bomb:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_checkpoints_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    request = ModelRequest(model="squeezenet1_1", checkpoint=path)
    with pytest.raises(WeightsError, match="there is no checkpoint file"):
        load(request)
    path.write_bytes(b"hello")
    with pytest.raises(WeightsError, match=r"cannot read the checkpoint .*mine.pth"):
        load(request)
    torch.save({"epoch": 3, "lr": 0.1}, path)
    with pytest.raises(WeightsError, match=r"holds no state dict \(names and tensors\), but a mapping with epoch, lr$"):
        load(request)
    torch.save({"a": Bomb(tmp_path / "ran")}, path)
    with pytest.raises(WeightsError, match="Files that hold pickled code are refused"):
        load(request)
    assert not (tmp_path / "ran").exists()


def test_checkpoint_and_weights_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exclude each other"):
        load(ModelRequest(model="squeezenet1_1", checkpoint=tmp_path / "x", weights="none"))


def test_a_request_takes_text_for_paths_and_labels_in_any_form(tmp_path: Path) -> None:
    (file := tmp_path / "two.txt").write_text("ant\nbee")
    for labels in (str(file), file, ["ant", "bee"], {0: "ant", 1: "bee"}, {"ant": 0, "bee": 1}):
        request = ModelRequest(model="squeezenet1_1", weights="none", num_classes=2, labels=labels)
        assert labels_for(request, (), 2, "softmax")[0] == ("ant", "bee")
    assert ModelRequest(model="squeezenet1_1", checkpoint=str(file)).checkpoint == file
    with pytest.raises(UsageError, match="unknown activation 'relu'; it is one of "):
        load(ModelRequest(model="squeezenet1_1", weights="none", activation="relu"))
    assert ModelRequest(model="squeezenet1_1", activation="Sigmoid").activation == "sigmoid"


def test_a_builder_brings_everything() -> None:
    loaded = load(ModelRequest(model="mine", builder="tests.models:tiny"))
    assert loaded.labels == models.LABELS
    assert (loaded.preprocess.resize.size, loaded.preprocess.crop, loaded.preprocess.interpolation) == (
        (37,),
        (32, 32),
        "bicubic",
    )
    assert (loaded.info.name, loaded.info.source, loaded.info.builder) == ("mine", "builder", "tests.models:tiny")
    assert loaded.info.num_params == sum(p.numel() for p in models.network().parameters())


def test_a_builder_with_a_checkpoint_or_none(tmp_path: Path) -> None:
    state, path = models.network().state_dict(), tmp_path / "mine.pth"
    state["0.bias"] += 1
    torch.save(state, path)
    request = ModelRequest(model="mine", builder="tests.models:tiny")
    assert torch.equal(load(replace(request, checkpoint=path)).module.state_dict()["0.bias"], state["0.bias"])
    assert load(replace(request, weights="none")).info.weights is None
    with pytest.raises(UsageError, match="with `builder`, timm: or hf:, `weights` takes none or nothing"):
        load(replace(request, weights="IMAGENET1K_V1"))


@pytest.mark.parametrize(
    ("builder", "message"),
    [
        ("tests.models", "`builder` takes package.module:function"),
        ("tests.nowhere:tiny", "cannot find builder tests.nowhere:tiny: No module named"),
        ("tests.models:nothing", "cannot find builder .* has no attribute 'nothing'"),
        ("tests.models:LABELS", "is not a function"),
        ("tests.models:wrong_return", r"must return \(torch.nn.Module, preprocessing, labels\)"),
        ("tests.models:two_labels", "the list of labels holds 2 labels, the model has 5 classes"),
        ("tests.models:raises", "builder tests.models:raises failed with FileNotFoundError: weights.bin is not here"),
        ("tests.models:leaves", "builder tests.models:leaves failed with SystemExit: 0"),
        ("tests.models:labels_as_text", "must return its labels as a list or tuple of strings"),
        ("tests.models:half_precision", r"mine cannot take float32 images of 3 channels and 32×32 pixels: "),
        ("tests.models:unknown_transform", "the transform does not end in floats from 0 to 1"),
    ],
)
def test_builders_that_cannot_be_used(builder: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(ModelRequest(model="mine", builder=builder))


def test_random_weights_are_seeded_and_marked() -> None:
    request = ModelRequest(model="squeezenet1_1", weights="none", seed=5)
    one, same, other = load(request), load(request), load(replace(request, seed=6))
    key = "features.0.weight"
    assert torch.equal(one.module.state_dict()[key], same.module.state_dict()[key])
    assert not torch.equal(one.module.state_dict()[key], other.module.state_dict()[key])
    assert (one.info.weights, one.info.seed, one.published) == (None, 5, None)


@pytest.mark.parametrize(
    "name",
    [
        "mobilenet_v3_small",
        "mnasnet0_5",
        "squeezenet1_1",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("efficientnet_b0", "vit_b_16", "convnext_tiny")),
    ],
)
def test_random_weights_are_not_vacuous(name: str, photos: Path) -> None:
    """These are the models whose logits torchvision's own initialisation leaves at 0, at 1e-14, or the same for every
    image.
    """
    from PIL import Image

    loaded = load(ModelRequest(model=name, weights="none"))
    batch = torch.stack(
        [
            loaded.transform(Image.open(photos / file).convert("RGB"))
            for file in ("coffee.png", "motorcycle_left.png", "coins.png")
        ]
    )
    with torch.inference_mode():
        logits = loaded.module(batch).numpy()
    assert 0.5 < logits.std(axis=1).mean() < 10
    assert np.median(logits.std(axis=0)) > 0.2
