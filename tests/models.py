"""Builders that tests export: see `torchless export --builder`."""

import torch
from torch import nn
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms._presets import ImageClassification

from tests.data import LABELS


def network() -> nn.Module:
    torch.manual_seed(3)
    body = nn.Sequential(
        nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU6(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, len(LABELS)),
    )  # fmt: skip
    with torch.no_grad():  # weights large enough for logits of a trained model's scale
        for parameter in body.parameters():
            parameter.mul_(3)
    return body.eval()


def preset() -> ImageClassification:
    return ImageClassification(
        crop_size=32,
        resize_size=37,
        interpolation=InterpolationMode.BICUBIC,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.25, 0.3),
    )


def tiny() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    return network(), preset(), LABELS


def grey() -> tuple[nn.Module, v2.Compose, tuple[str, ...]]:
    """One channel in, one number out: sigmoid decides between two labels."""
    torch.manual_seed(5)
    body = nn.Sequential(
        nn.Conv2d(1, 8, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 1)
    )
    with torch.no_grad():
        body[-1].weight.mul_(20)
        body[-1].bias.fill_(-1)
    steps = [v2.Resize((28, 36)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.45], [0.25])]
    return body.eval(), v2.Compose(steps), ("sound", "cracked")


def usual() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    """Prepared as much else is: with numbers that training scripts use."""
    return network(), ImageClassification(crop_size=32, resize_size=36, mean=(0.5,) * 3, std=(0.5,) * 3), LABELS


def zero_head() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    """Its logits are the same for every image, as a ViT's are before training."""
    body = network()
    nn.init.zeros_(body[-1].weight)
    return body, preset(), LABELS


def silent() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    """Its logits are exactly 0."""
    body = network()
    nn.init.zeros_(body[-1].weight)
    nn.init.zeros_(body[-1].bias)
    return body, preset(), LABELS


class Folded(nn.Module):
    """Mixes the images of a batch: right alone, wrong in company."""

    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x - 0.1 * x.mean(dim=0, keepdim=True))


def folded() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    return Folded(), preset(), LABELS


def wrong_return() -> nn.Module:
    return network()


def two_labels() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    return network(), preset(), LABELS[:2]


def unknown_transform() -> tuple[nn.Module, object, tuple[str, ...]]:
    return network(), nn.Identity(), LABELS


class Unexportable(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.svdvals(x[:, 0])


def unexportable() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    return Unexportable(), preset(), tuple(f"value {i}" for i in range(32))


def raises() -> None:
    raise FileNotFoundError("weights.bin is not here")


def leaves() -> None:
    raise SystemExit(0)


def labels_as_text() -> tuple[nn.Module, ImageClassification, str]:
    return network(), preset(), "abcde"


def half_precision() -> tuple[nn.Module, ImageClassification, tuple[str, ...]]:
    return network().half(), preset(), LABELS
