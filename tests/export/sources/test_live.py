"""load_live: a copy of the user's network, however it is wrapped, and what they say about it."""

import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.data import LABELS
from tests.models import network, preset
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from torchless.errors import UsageError
from torchless_export.sources.images import from_examples
from torchless_export.sources.live import copy_to_cpu, load_live


def loaded(module: nn.Module, **options: object):
    return load_live(module, **({"name": "", "transform": preset(), "labels": LABELS} | options))


def distributed(module: nn.Module) -> nn.Module:
    torch.distributed.init_process_group("gloo", store=torch.distributed.HashStore(), rank=0, world_size=1)
    return DistributedDataParallel(module)


@pytest.mark.parametrize(
    "wrap",
    [lambda m: m, DataParallel, distributed, AveragedModel, torch.compile, lambda m: DataParallel(torch.compile(m))],
    ids=["plain", "DataParallel", "DDP", "AveragedModel", "compile", "both"],
)  # fmt: skip
def test_the_network_is_unwrapped_and_stays_as_it_is(wrap: Callable[[nn.Module], nn.Module]) -> None:
    own = network().train()
    own[0].eval()
    own.register_forward_hook(lambda *_: None)
    before = {name: (id(value), value.clone()) for name, value in own.state_dict(keep_vars=True).items()}
    try:
        copied = loaded(wrap(own)).module
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
    assert list(copied.state_dict()) == list(before)
    assert not any(part.training for part in copied.modules())
    assert [part.training for part in own.modules()] == [True, False] + [True] * 8
    assert len(own._forward_hooks) == 1
    for name, value in own.state_dict(keep_vars=True).items():
        assert id(value) == before[name][0]
        assert torch.equal(value, before[name][1])
    assert not {value.data_ptr() for value in copied.parameters()} & {value.data_ptr() for value in own.parameters()}


def test_wrapped_parts_are_unwrapped() -> None:
    """As in PyTorch's ImageNet example, which wraps only the features of a VGG."""
    parts = nn.Sequential(DataParallel(network()[:6]), *network()[6:])
    copied = copy_to_cpu(parts)
    assert "0.0.weight" in copied.state_dict()
    assert isinstance(parts[0], DataParallel)


class Scaled(nn.Module):
    """Has tensors beside its parameters, one of them with a gradient, as weight_norm leaves it after a step."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.scale = network(), torch.tensor(2.0)
        self.latest = self.body[0].weight * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) * self.scale


def test_tensors_beside_the_parameters() -> None:
    copied = copy_to_cpu(Scaled())
    assert copied.scale == 2
    assert not copied.latest.requires_grad


class Locked(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body, self.lock = network(), threading.Lock()


def test_what_cannot_be_copied_is_said() -> None:
    with pytest.raises(UsageError, match=r"cannot copy the Locked: cannot pickle '_thread\.lock' object; export a"):
        copy_to_cpu(Locked())


def test_what_is_said_of_it(tmp_path: Path) -> None:
    plain = loaded(network())
    assert (plain.info.name, plain.info.source) == ("Sequential", "module")
    assert plain.info.weights == "torch.nn.modules.container.Sequential"
    assert plain.info.num_params == 1733
    assert plain.assumed == ("activation",)
    said = loaded(network(), name="pets", activation="Sigmoid", threshold=0.4)
    assert (said.info.name, said.assumed) == ("pets", ())
    assert (said.activation, said.thresholds) == ("sigmoid", (0.4,) * len(LABELS))


def test_labels(tmp_path: Path) -> None:
    path = tmp_path / "names.txt"
    path.write_text("\n".join(LABELS))
    for labels in (list(LABELS), dict(enumerate(LABELS)), {name: i for i, name in enumerate(LABELS)}, path, str(path)):
        assert loaded(network(), labels=labels).labels == LABELS
    assert loaded(network(), labels=path).info.labels_file == "names.txt"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"transform": None}, "give `transform`"),
        ({"transform": lambda image: image}, "transform"),
        ({"transform": ImageClassification(crop_size=32, mean=(123.7,) * 3)}, "divide by 255"),
        ({"labels": None}, "give `labels`"),
        ({"labels": ["a", "b"]}, r"holds 2 labels, the model has 5 classes"),
        ({"labels": {1: "a", 2: "b"}}, "numbered from 1 to 2"),
        ({"activation": "relu"}, "unknown activation 'relu'; it is one of "),
        ({"threshold": (0.5, 0.6)}, "`threshold` has 2 numbers for 5 labels"),
    ],
)
def test_what_does_not_fit_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        loaded(network(), **options)


def test_a_network_that_is_no_classifier() -> None:
    with pytest.raises(UsageError, match="Sequential is no classifier"):
        loaded(network()[:2])


def grey_network() -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, len(LABELS)))


def test_images_of_a_grey_network_are_opened_as_grey() -> None:
    steps = [v2.Resize((32, 32)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize((0.5,), (0.5,))]
    found = loaded(grey_network(), transform=v2.Compose(steps))
    assert (found.preprocess.channels, found.assumed) == (1, ("transform", "activation"))
    assert found.transform(Image.new("RGB", (50, 40))).shape == (1, 32, 32)
    said = loaded(grey_network(), transform=v2.Compose([v2.Grayscale(1), *steps]), activation="softmax")
    assert said.assumed == ()


class TestATransformThatFixesNoSize:
    as_it_is = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True)])

    def test_examples_tell_the_size(self) -> None:
        examples = from_examples([Image.new("RGB", (40, 32)), np.zeros((32, 40, 3), np.uint8)])
        assert loaded(network(), transform=self.as_it_is, examples=examples).shape == (3, 32, 40)

    def test_without_examples_it_is_refused(self) -> None:
        with pytest.raises(UsageError, match="does not bring images to one size; give `examples`"):
            loaded(network(), transform=self.as_it_is)

    def test_of_examples_of_two_sizes_both_are_named(self) -> None:
        examples = from_examples([Image.new("RGB", (40, 32)), Image.new("RGB", (32, 32))])
        with pytest.raises(UsageError, match="different sizes \\(example 0 32×40, example 1 32×32\\)"):
            loaded(network(), transform=self.as_it_is, examples=examples)


def test_an_example_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"`examples`: cannot read .*no\.png: No such file"):
        from_examples([tmp_path / "no.png"])
    with pytest.raises(UsageError, match="`examples`: example 0: it is text, not an image"):
        from_examples([b"text"])
