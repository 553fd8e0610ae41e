"""Checkpoints as training scripts leave them."""

import argparse
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torchvision

from torchless.errors import UsageError
from torchless.model.preprocessing import Preprocess, PreprocessChanges, Resize
from torchless_export.errors import WeightsError
from torchless_export.sources import architectures
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import ModelRequest

NAME = "shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(2)
    return torchvision.models.get_model(NAME, weights=None, num_classes=4).state_dict()


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    return tmp_path / "labels.txt"


def loaded_from(content: object, folder: Path, labels: Path, **options: object) -> LoadedModel:
    torch.save(content, folder / "mine.pth")
    return load(ModelRequest(model=NAME, checkpoint=folder / "mine.pth", labels=labels, **options))


def shifted(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value + 1 for key, value in state.items()}


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + key: value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"state_dict": s, "epoch": 7}, id="state_dict"),
        pytest.param(
            lambda s: {"model": s, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1)},
            id="torchvision's reference script",
        ),
        pytest.param(lambda s: prefixed("module.", s), id="DataParallel"),
        pytest.param(lambda s: prefixed("_orig_mod.", s), id="torch.compile"),
        pytest.param(lambda s: prefixed("module._orig_mod.", s), id="both"),
        pytest.param(lambda s: {"state_dict": prefixed("model.", s), "hyper_parameters": {"lr": 1}}, id="Lightning"),
        pytest.param(
            lambda s: {"model": shifted(s), "model_ema": {"n_averaged": torch.tensor(3)} | prefixed("module.", s)},
            id="EMA beside it",
        ),
        pytest.param(OrderedDict, id="ordered"),
    ],
)
def test_wrappings(wrap, state, labels: Path, tmp_path: Path) -> None:
    loaded = loaded_from(wrap(state), tmp_path, labels)
    assert all(torch.equal(value, state[key]) for key, value in loaded.module.state_dict().items())
    assert loaded.labels == ("a", "b", "c", "d")


def test_the_choice_is_said_and_can_be_made(state, labels: Path, tmp_path: Path) -> None:
    content = {"model": state, "model_ema": shifted(state)}
    assert loaded_from(content, tmp_path, labels).notes == (
        "took the weights under 'model_ema' in mine.pth; there are others under model: `checkpoint_key` chooses",
    )
    plain = loaded_from(content, tmp_path, labels, checkpoint_key="model")
    assert torch.equal(plain.module.state_dict()["fc.bias"], state["fc.bias"])
    with pytest.raises(
        WeightsError,
        match=r"holds no state dict .*under 'weights', but .*; there are state dicts under model, model_ema",
    ):
        loaded_from(content, tmp_path, labels, checkpoint_key="weights")
    with pytest.raises(UsageError, match="`checkpoint_key` goes with `checkpoint`"):
        load(ModelRequest(model=NAME, checkpoint_key="model"))


def test_a_checkpoint_of_another_model_names_the_one_that_fits(state, labels: Path, tmp_path: Path) -> None:
    torch.save(state, tmp_path / "mine.pth")
    with pytest.raises(
        WeightsError,
        match=r"does not fit resnet18: .* missing from the file: conv1.weight, .* It fits shufflenet_v2_x0_5: "
        r"name that",
    ):
        load(ModelRequest(model="resnet18", checkpoint=tmp_path / "mine.pth", labels=labels))


def test_num_classes(state, labels: Path, tmp_path: Path) -> None:
    assert len(loaded_from(state, tmp_path, labels, num_classes=4).labels) == 4
    with pytest.raises(
        WeightsError,
        match=r"1 of another shape|2 of another shape: fc.weight \(4×1024 in the file, 5×1024 in the model\)",
    ):
        loaded_from(state, tmp_path, labels, num_classes=5)
    untrained = load(ModelRequest(model=NAME, weights="none", num_classes=3))
    assert untrained.labels == ("class 0", "class 1", "class 2")
    with pytest.raises(UsageError, match="`num_classes` goes with `checkpoint` or `weights` none"):
        load(ModelRequest(model=NAME, num_classes=3))


def test_preprocessing_of_ones_own(state, labels: Path, tmp_path: Path) -> None:
    changes = PreprocessChanges(crop=(64, 64), mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), interpolation="bicubic")
    loaded = loaded_from(state, tmp_path, labels, changes=changes)
    wanted = Preprocess.centered(resize=73, crop=64, mean=(0.5,) * 3, std=(0.2,) * 3, interpolation="bicubic")
    assert loaded.preprocess == wanted
    own = loaded_from(state, tmp_path, labels, changes=replace(changes, resize=Resize(mode="exact", size=(64, 64))))
    assert (own.preprocess.resize.mode, own.preprocess.crop) == ("exact", (64, 64))


def test_heads_for_training_are_ignored(tmp_path: Path) -> None:
    trained = torchvision.models.googlenet(weights=None, init_weights=False, aux_logits=True, num_classes=4)
    (tmp_path / "labels.txt").write_text("a\nb\nc\nd\n")
    torch.save(trained.state_dict(), tmp_path / "mine.pth")
    request = ModelRequest(model="googlenet", checkpoint=tmp_path / "mine.pth", labels=tmp_path / "labels.txt")
    loaded = load(request)
    assert not [key for key in loaded.module.state_dict() if key.startswith("aux")]
    assert loaded.module.transform_input is loaded.info.transform_input is True
    assert "if yours was trained from scratch, give `no_transform_input`" in loaded.notes[-1]
    said = load(replace(request, transform_input=False))
    assert said.module.transform_input is said.info.transform_input is False
    assert not [note for note in said.notes if "transform_input" in note]


def test_transform_input_is_for_checkpoints_of_networks_that_have_it(state, labels: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"is for googlenet and inception_v3; {NAME} has no such setting"):
        loaded_from(state, tmp_path, labels, transform_input=True)
    with pytest.raises(UsageError, match="`transform_input` goes with `checkpoint`"):
        load(ModelRequest(model="googlenet", transform_input=True))


def test_what_is_assumed_of_a_checkpoint(state, labels: Path, tmp_path: Path) -> None:
    assert loaded_from(state, tmp_path, labels).assumed == ("architecture", "transform", "activation")
    size, numbers = Resize(mode="exact", size=(64, 64)), (0.5, 0.5, 0.5)
    changes = PreprocessChanges(resize=size, mean=numbers, std=numbers, interpolation="bilinear")
    assert loaded_from(state, tmp_path, labels, changes=changes, activation="softmax").assumed == ("architecture",)


def test_numbers_for_values_of_0_to_255_are_refused() -> None:
    changes = PreprocessChanges(mean=(123.675, 116.28, 103.53))
    with pytest.raises(UsageError, match=r"`mean` 123\.675,116\.28,103\.53 is for values of 0 to 255.*divide by 255"):
        load(ModelRequest(model=NAME, checkpoint=Path("mine.pth"), changes=changes))


class TestImageSize:
    """ViT and MaxViT fix their image size when they are built; convolutional networks and Swin take any."""

    def checkpoint(self, name: str, folder: Path, **options: object) -> ModelRequest:
        torch.save(torchvision.models.get_model(name, weights=None, **options).state_dict(), folder / "mine.pth")
        return ModelRequest(model=name, checkpoint=folder / "mine.pth")

    def test_a_vit_that_was_trained_at_another_size(self, tmp_path: Path) -> None:
        request = self.checkpoint("vit_b_32", tmp_path, image_size=96)
        with pytest.raises(
            WeightsError,
            match=r"encoder.pos_embedding .*Its position embeddings are for images of 96 pixels: try `crop` 96",
        ):
            load(request)
        loaded = load(replace(request, changes=PreprocessChanges(crop=(96, 96))))
        assert loaded.preprocess.crop == (96, 96)
        assert loaded.module.image_size == 96

    def test_a_pretrained_vit_is_refused_at_another_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from torchless_export.sources import weights

        monkeypatch.setattr(weights, "pretrained", lambda name, member: (architectures.build(name, image_size=224), ""))
        with pytest.raises(UsageError, match=r"3 channels and 256×256 pixels: Wrong image height! Expected 224"):
            load(ModelRequest(model="vit_b_32", changes=PreprocessChanges(crop=(256, 256))))

    def test_sizes_that_no_network_of_that_kind_can_take(self) -> None:
        for name, size in (("vit_b_32", 100), ("maxvit_t", 100)):
            with pytest.raises(UsageError, match=f"{name} cannot take images of {size}×{size} pixels: "):
                load(ModelRequest(model=name, weights="none", changes=PreprocessChanges(crop=(size, size))))

    def test_published_figures_hold_for_the_published_preprocessing_alone(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from torchless_export.sources import weights

        monkeypatch.setattr(
            weights, "pretrained", lambda name, member: (architectures.build(name, image_size=224), "0" * 64)
        )
        assert load(ModelRequest(model=NAME)).published.acc1 == 60.552
        assert load(ModelRequest(model=NAME, changes=PreprocessChanges(crop=(256, 256)))).published is None
