"""The catalogue of torchvision's classifiers, and their shapes."""

from pathlib import Path

from torchless.model.missing import command_for
from torchless_export.sources import architectures
from torchless_export.sources.catalog import entries, model_names

FAMILIES = (
    "alexnet", "vgg", "googlenet", "inception", "resnet", "resnext", "wide_resnet", "densenet", "squeezenet",
    "shufflenet", "mobilenet", "mnasnet", "efficientnet", "regnet", "convnext", "vit", "swin", "maxvit",
)  # fmt: skip


def test_all_models_and_weights_are_there() -> None:
    found = entries()
    assert len({entry.model for entry in found}) == 80
    assert len(found) == 115
    assert all(any(name.startswith(family) for name in model_names()) for family in FAMILIES)
    assert all(sum(entry.default for entry in found if entry.model == name) == 1 for name in model_names())


def test_shapes_without_memory_are_those_of_the_real_network() -> None:
    for name in ("regnet_y_400mf", "googlenet", "mobilenet_v3_small", "maxvit_t"):
        real = architectures.build(name, image_size=224).state_dict()
        assert architectures.layout(name).shapes == {key: tuple(value.shape) for key, value in real.items()}


def test_the_classifier_comes_last_in_every_network() -> None:
    """Checkpoints rely on it: the number of classes is read there."""
    for name in model_names():
        layout = architectures.layout(name, num_classes=7)
        last = list(layout.shapes)[-1]
        assert layout.shapes[last][0] == 7, name
        assert last.startswith(f"{layout.head}."), name


def test_the_runtime_knows_a_name_that_can_be_exported() -> None:
    """It says how to make a file that is not there (model/missing.py)."""
    assert [name for name in model_names() if command_for(Path(f"{name}.onnx")).split()[2] != name] == []
    for other in ("efficientnet_lite0", "resnet50_mine", "resnet"):
        assert command_for(Path(f"{other}.onnx")).split()[2] == "MODEL"
