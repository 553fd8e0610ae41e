"""Checkpoints of networks that were changed before training: another classifier, grey images, lost or older names."""

from collections import OrderedDict
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tests.export.sources.checkpoint_files import labels_file, prefixed, state_of
from torch import nn
from torchvision import models

from torchless.errors import UsageError
from torchless.model.preprocessing import PreprocessChanges
from torchless_export.errors import WeightsError
from torchless_export.sources import architectures
from torchless_export.sources.fitting import Fitted, fit
from torchless_export.sources.heads import describe, rebuild
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest

State = dict[str, torch.Tensor]


def fitted(name: str, state: State, folder: Path, *, image_size: int = 224, **options: object) -> Fitted:
    torch.save(state, folder / "mine.pth")
    return fit(name, folder / "mine.pth", key=None, image_size=image_size, **options)


def changed(name: str, modules: dict[str, nn.Module], *, num_classes: int | None = None) -> State:
    """A state dict of torchvision's network with other modules in places such as "fc" or "classifier.6"."""
    network = architectures.without_memory(name, num_classes=num_classes)
    for place, module in modules.items():
        parent, _, last = place.rpartition(".")
        setattr(network.get_submodule(parent), last, module)
    return state_of(network)


def answers(network: nn.Module, size: int = 64) -> torch.Tensor:
    with torch.inference_mode():
        return network.eval()(torch.linspace(0, 1, 3 * size * size).reshape(1, 3, size, size))


LINEAR = nn.Linear(512, 4)
NORM = models.convnext.LayerNorm2d(768, eps=1e-6)

# Of a network, a place in it, what stands there now, what the head then is, and what was taken for granted.
HEADS = [
    ("resnet18", "fc", nn.Sequential(nn.Dropout(0.2), LINEAR), "Dropout, Linear(512, 4)", "fc.0 is Dropout"),
    ("resnet18", "fc", nn.Sequential(nn.Linear(512, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4)),
     "Linear(512, 9), ReLU, Dropout, Linear(9, 4)", "fc.1 is ReLU, fc.2 is Dropout"),
    ("resnet18", "fc", nn.Sequential(nn.Linear(512, 9), nn.BatchNorm1d(9), nn.ReLU(), nn.Linear(9, 4)),
     "Linear(512, 9), BatchNorm1d, ReLU, Linear(9, 4)", "fc.2 is ReLU"),
    ("resnet18", "fc", nn.Sequential(nn.BatchNorm1d(512), nn.Linear(512, 4, bias=False)),
     "BatchNorm1d, Linear(512, 4)", ""),
    ("vit_b_32", "heads", nn.Linear(768, 4), "Linear(768, 4)", ""),
    ("vit_b_32", "heads.head", nn.Sequential(nn.Dropout(), nn.Linear(768, 4)), "Dropout, Linear(768, 4)",
     "heads.head.0 is Dropout"),
    ("efficientnet_b0", "classifier", nn.Linear(1280, 4), "Linear(1280, 4)", ""),
    ("mobilenet_v3_small", "classifier", nn.Linear(576, 4), "Linear(576, 4)", ""),
    ("mobilenet_v3_small", "classifier.3", nn.Sequential(nn.Linear(1024, 4)),
     "Linear(576, 1024), Hardswish, Dropout, Linear(1024, 4)", ""),
    ("convnext_tiny", "classifier", nn.Linear(768, 4), "Flatten, Linear(768, 4)",
     "the features are flattened before classifier"),
    ("convnext_tiny", "classifier", nn.Sequential(nn.Flatten(), nn.Linear(768, 4)), "Flatten, Linear(768, 4)",
     "classifier.0 is Flatten"),
    ("convnext_tiny", "classifier", nn.Sequential(NORM, nn.Flatten(1), nn.Dropout(), nn.Linear(768, 4)),
     "LayerNorm2d, Flatten, Dropout, Linear(768, 4)", "classifier.1 is Flatten, classifier.2 is Dropout"),
    ("vgg11", "classifier", nn.Linear(25088, 4), "Linear(25088, 4)", ""),
    ("vgg11", "classifier.6", nn.Sequential(nn.Linear(4096, 9), nn.ReLU(), nn.Linear(9, 4)),
     "Linear(25088, 4096), ReLU, Dropout, Linear(4096, 4096), ReLU, Dropout, Linear(4096, 9), ReLU, Linear(9, 4)",
     "classifier.6.1 is ReLU"),
    ("maxvit_t", "classifier.5", nn.Linear(512, 4),
     "AdaptiveAvgPool2d, Flatten, LayerNorm, Linear(512, 512), Tanh, Linear(512, 4)", ""),
]  # fmt: skip


class TestHeads:
    @pytest.mark.parametrize(("name", "place", "now", "head", "taken"), HEADS)
    def test_rebuilt(self, name: str, place: str, now: nn.Module, head: str, taken: str) -> None:
        top = place.partition(".")[0]
        state = {key.removeprefix(f"{top}."): value for key, value in changed(name, {place: now}).items() if top in key}
        found = rebuild(architectures.without_memory(name).get_submodule(top), state, top)
        assert (describe(found.module), ", ".join(found.taken), found.classes) == (head, taken, 4)
        shapes = {key: value.shape for key, value in found.module.state_dict().items()}
        assert shapes == {key: value.shape for key, value in found.tensors.items()}

    @pytest.mark.slow
    @pytest.mark.parametrize(("name", "place", "now", "head", "taken"), HEADS)
    def test_rebuilt_in_the_network(
        self, name: str, place: str, now: nn.Module, head: str, taken: str, tmp_path: Path
    ) -> None:
        found = fitted(name, changed(name, {place: now}), tmp_path)
        (note,) = found.notes
        assert note.startswith(f"rebuilt {place.partition('.')[0]} as {head}")
        assert found.assumed == bool(taken) == (f"it is taken for granted that {taken}. If" in note)
        assert answers(found.module, 224).shape == (1, 4)

    def test_the_answers_are_those_of_the_trained_network(self, tmp_path: Path) -> None:
        torch.manual_seed(4)
        trained = models.shufflenet_v2_x0_5(weights=None)
        trained.fc = nn.Sequential(nn.Dropout(), nn.Linear(1024, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
        torch.save(trained.state_dict(), tmp_path / "mine.pth")
        request = ModelRequest(model="shufflenet_v2_x0_5", checkpoint=tmp_path / "mine.pth")
        loaded = load(replace(request, labels=labels_file(tmp_path, 4)))
        assert torch.equal(answers(loaded.module), answers(trained))
        assert "architecture" in loaded.assumed

    @pytest.mark.parametrize(
        ("name", "head", "reason"),
        [
            ("resnet18", nn.Sequential(OrderedDict(a=nn.Linear(512, 9), b=nn.Tanh(), c=nn.Linear(9, 4))),
             "fc is no Linear, and no Sequential of Linear and BatchNorm1d"),
            ("resnet18", nn.Sequential(nn.Linear(512, 9), nn.ReLU(), nn.BatchNorm1d(9), nn.Dropout(), nn.Linear(9, 4)),
             "which layers without weights fc has, and where, cannot be seen"),
            ("resnet18", nn.Sequential(nn.Sequential(nn.Linear(512, 9), nn.ReLU()), nn.Linear(9, 4)),
             "what stands at the end of fc.0 cannot be seen"),
            ("resnet18", nn.Linear(1024, 4), "fc takes 1024 features, and the network gives 512"),
            ("resnet18", nn.Sequential(nn.LayerNorm(512), nn.Linear(512, 4)), "fc.0 is no Linear"),
            ("mobilenet_v3_small", nn.Sequential(nn.Linear(576, 9), nn.ReLU(), nn.Dropout(), nn.Linear(9, 4)),
             "classifier.0 has another shape than torchvision's, after which Hardswish stands"),
            ("squeezenet1_1", nn.Linear(512, 4), "torchvision's classifier pools the features itself"),
            *[("resnet18", nn.Sequential(OrderedDict({"0": nn.Linear(512, 9), index: nn.Linear(9, 4)})),
               "fc is no Linear, and no Sequential of Linear and BatchNorm1d") for index in ("9" * 9, "9" * 5000)],
        ],
    )  # fmt: skip
    def test_refused_with_a_builder_to_paste(
        self, name: str, head: nn.Module, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        place = "fc" if name == "resnet18" else "classifier"
        with pytest.raises(WeightsError, match=f"fits {name}, only the head differs: {reason}") as caught:
            fitted(name, changed(name, {place: head}), tmp_path)
        labels_file(tmp_path, 4)
        module = f"mine_{tmp_path.name}"
        (tmp_path / f"{module}.py").write_text(str(caught.value).partition("\n")[2])
        monkeypatch.syspath_prepend(tmp_path)
        with chdir(tmp_path):
            request = ModelRequest(model="mine", builder=f"{module}:build", checkpoint=tmp_path / "mine.pth")
            if "features" in reason:  # the body was changed too, so this cannot run
                with pytest.raises(UsageError, match="mine cannot take float32 images"):
                    load(request)
            else:
                assert load(request).labels[-1] == "label 3"

    def test_a_classifier_beside_the_network(self, tmp_path: Path) -> None:
        state = prefixed("backbone.", changed("resnet18", {"fc": nn.Identity()})) | prefixed(
            "head.", state_of(nn.Linear(512, 4))
        )
        found = fitted("resnet18", {"state_dict": state | {"loss.weight": torch.ones(4)}}, tmp_path)
        assert found.notes == (
            "took the weights under 'state_dict.backbone' in mine.pth",
            "took the classifier from beside the network: head.weight, head.bias",
            "left out of mine.pth: 1 tensor, loss.weight",
        )
        assert found.assumed

    def test_no_classifier(self, tmp_path: Path) -> None:
        state = changed("resnet18", {"fc": nn.Identity()})
        with pytest.raises(WeightsError, match="fits resnet18, but has no classifier: no names below fc"):
            fitted("resnet18", state, tmp_path)

    def test_num_classes_must_be_the_files(self, tmp_path: Path) -> None:
        with pytest.raises(WeightsError, match="has 4 classes, not 5"):
            fitted("resnet18", changed("resnet18", {"fc": nn.Sequential(LINEAR)}), tmp_path, num_classes=5)


class TestGreyImages:
    def grey(self, name: str, place: str, channels: int = 1) -> State:
        state = changed(name, {}, num_classes=4)
        outputs, _, *size = state[f"{place}.weight"].shape
        return state | {f"{place}.weight": torch.ones(()).expand(outputs, channels, *size)}

    @pytest.mark.parametrize(
        ("name", "place"),
        [("shufflenet_v2_x0_5", "conv1.0"), ("squeezenet1_1", "features.0"), ("googlenet", "conv1.conv")],
    )
    def test_channels_follow(self, name: str, place: str, tmp_path: Path) -> None:
        torch.save(self.grey(name, place), tmp_path / "mine.pth")
        request = ModelRequest(
            model=name, checkpoint=tmp_path / "mine.pth", labels=labels_file(tmp_path, 4),
            changes=PreprocessChanges(mean=(0.5,), std=(0.25,)),
        )  # fmt: skip
        loaded = load(request)
        assert (loaded.preprocess.channels, loaded.preprocess.grayscale) == (1, "first")
        assert "the first convolution takes grey images, as in mine.pth" in loaded.notes
        with pytest.raises(UsageError, match=r"takes images of 1 channels; got `channels` 3"):
            load(replace(request, changes=replace(request.changes, channels=3)))
        with pytest.raises(UsageError, match=r"takes grey images; give the `mean` and `std` it was trained with"):
            load(replace(request, changes=PreprocessChanges()))

    def test_other_numbers(self, tmp_path: Path) -> None:
        with pytest.raises(
            WeightsError, match="is of a network for images of 4 channels; torchless prepares images of"
        ):
            fitted("squeezenet1_1", self.grey("squeezenet1_1", "features.0", 4), tmp_path)


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "mnasnet0_5",
            *(pytest.param(name, marks=pytest.mark.slow) for name in ("mnasnet0_75", "mnasnet1_0", "mnasnet1_3")),
        ],
    )
    def test_mnasnet(self, name: str, tmp_path: Path) -> None:
        trained = models.get_model(name, weights=None)
        found = fitted(name, trained.state_dict(), tmp_path)
        assert torch.equal(answers(found.module), answers(trained))
        assert (found.notes, found.assumed) == ((), False)

    @pytest.mark.parametrize("name", ["alexnet", "vgg11"])
    def test_the_imagenet_example_wraps_the_features_alone(self, name: str, tmp_path: Path) -> None:
        network = architectures.without_memory(name, num_classes=4)
        state = state_of(network)
        network.features = nn.DataParallel(network.features)
        saved = dict(zip(network.state_dict(), state.values(), strict=True))
        assert "features.module.0.weight" in saved
        found = fitted(name, {"state_dict": saved, "arch": name}, tmp_path)
        assert torch.equal(found.module.features[0].bias, state["features.0.bias"])

    def test_old_names_of_vit_and_densenet(self, tmp_path: Path) -> None:
        vit, dense = changed("vit_b_32", {}), changed("densenet121", {})
        old_vit = {
            key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): value
            for key, value in vit.items()
        }
        old_dense = {
            key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in dense.items()
        }
        assert old_vit.keys() != vit.keys()
        assert old_dense.keys() != dense.keys()
        for name, old, state in (("vit_b_32", old_vit, vit), ("densenet121", old_dense, dense)):
            found = fitted(name, old, tmp_path).module.state_dict()
            assert all(torch.equal(value, state[key]) for key, value in found.items()), name


class TestLostNames:
    def sequence(self, name: str, *added: nn.Module) -> nn.Sequential:
        return nn.Sequential(*list(models.get_model(name, weights=None).children())[:-1], *added)

    def test_mapped_by_order_and_shape(self, tmp_path: Path) -> None:
        """As in Lightning's documentation."""
        torch.manual_seed(5)
        trained = models.resnet18(weights=None, num_classes=4)
        state = prefixed("feature_extractor.", nn.Sequential(*list(trained.children())[:-1]).state_dict())
        state |= prefixed("classifier.", trained.fc.state_dict())
        found = fitted("resnet18", {"state_dict": state}, tmp_path)
        assert torch.equal(answers(found.module), answers(trained))
        assert found.assumed
        assert found.notes[0].startswith(
            "names are lost in mine.pth, so the order and the shapes decide: feature_extractor.0 is conv1, "
            "feature_extractor.1 is bn1, feature_extractor.4 is layer1, "
        )

    def test_all_in_one_sequence(self, tmp_path: Path) -> None:
        network = self.sequence("shufflenet_v2_x0_5", nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 4))
        found = fitted("shufflenet_v2_x0_5", network.state_dict(), tmp_path)
        assert answers(found.module).shape == (1, 4)

    def test_where_a_shape_differs(self, tmp_path: Path) -> None:
        state = self.sequence("shufflenet_v2_x0_5").state_dict()
        state["2.0.branch2.3.weight"] = torch.zeros(24, 1, 5, 5)
        with pytest.raises(WeightsError, match="does not fit shufflenet_v2_x0_5"):
            fitted("shufflenet_v2_x0_5", state, tmp_path)

    def test_where_two_ways_exist(self, tmp_path: Path) -> None:
        network = self.sequence("shufflenet_v2_x0_5")
        state = prefixed("online.", network.state_dict()) | prefixed("target.", network.state_dict())
        with pytest.raises(WeightsError, match="does not fit shufflenet_v2_x0_5"):
            fitted("shufflenet_v2_x0_5", state, tmp_path)


class TestOneThingDiffers:
    def test_the_stem_for_small_images(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        state = changed("resnet18", {"conv1": nn.Conv2d(3, 64, 3, padding=1, bias=False), "fc": LINEAR})
        with pytest.raises(WeightsError) as caught:
            fitted("resnet18", state, tmp_path)
        message = str(caught.value)
        assert (
            "does not fit resnet18: 1 of another shape: conv1.weight (64×3×3×3 in the file, 64×3×7×7 in the model). "
            "Everything else fits." in message
        )
        labels_file(tmp_path, 4)
        (tmp_path / "small_stem.py").write_text(message.partition("\n")[2])
        monkeypatch.syspath_prepend(tmp_path)
        with chdir(tmp_path):
            load(ModelRequest(model="mine", builder="small_stem:build", checkpoint=tmp_path / "mine.pth"))

    def test_layers_inside_the_network_that_torchvisions_has_not(self, tmp_path: Path) -> None:
        state = changed("resnet18", {"fc": LINEAR}) | {"layer1.0.se.weight": torch.ones(4, 4)}
        with pytest.raises(WeightsError, match=r"1 not in the model: layer1.0.se.weight. Everything else fits"):
            fitted("resnet18", state, tmp_path)

    def test_a_deeper_network_is_named(self, tmp_path: Path) -> None:
        """All of resnet18's names fit in resnet34."""
        with pytest.raises(WeightsError, match="It fits resnet34: name that model"):
            fitted("resnet18", changed("resnet34", {"fc": LINEAR}), tmp_path)
