"""The families of torchvision's classifiers: by what a name begins with, and the colour that charts give them."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """`color` stands out on white and on black; related families have related hues."""

    name: str
    color: str


OTHER = Family("other", "#8a94a3")

_BY_PREFIX = {
    "alexnet": Family("AlexNet", "#7d7468"),
    "vgg": Family("VGG", "#b98b5e"),
    "googlenet": Family("Inception", "#d9ae1e"),
    "inception": Family("Inception", "#d9ae1e"),
    "squeezenet": Family("SqueezeNet", "#f28e2b"),
    "shufflenet": Family("ShuffleNet", "#ff7f6b"),
    "mobilenet": Family("MobileNet", "#e8553a"),
    "mnasnet": Family("MNASNet", "#b5402f"),
    "resnet": Family("ResNet", "#3f78c9"),
    "resnext": Family("ResNeXt", "#55b4f0"),
    "wide_resnet": Family("Wide ResNet", "#5b63c4"),
    "densenet": Family("DenseNet", "#4fa34d"),
    "efficientnet": Family("EfficientNet", "#e0457b"),
    "regnet": Family("RegNet", "#1ba89a"),
    "convnext": Family("ConvNeXt", "#8bbf2f"),
    "vit": Family("ViT", "#c77ddb"),
    "swin": Family("Swin", "#9a54c9"),
    "maxvit": Family("MaxViT", "#6f3fa0"),
}


def family_of(model: str) -> Family:
    """The family of a model of that name; OTHER for one that torchvision does not have."""
    return next((family for prefix, family in _BY_PREFIX.items() if model.startswith(prefix)), OTHER)


def color_of(family: str) -> str:
    """The colour of the family of that name."""
    return next((known.color for known in _BY_PREFIX.values() if known.name == family), OTHER.color)
