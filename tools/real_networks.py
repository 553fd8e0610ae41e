"""The four networks of tools/real.py and its 20 photos: where they come from, what is published of them, and what
PyTorch answers.
"""

import csv
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from real_answers import Answers, of_pytorch
from torchless_export.sources.catalog import find_weights, published

EXAMPLES = str(Path(__file__).parents[1] / "examples")
LITE_SOURCE = "github.com/tensorflow/tpu, efficientnet/lite"


@dataclass(frozen=True)
class Published:
    """Errors on ImageNet's validation set in percent, and who says so."""

    top1: float
    top5: float | None
    source: str


LITE = {
    f"efficientnet_lite{number}": Published(round(100 - accuracy, 1), None, LITE_SOURCE)
    for number, accuracy in enumerate((75.1, 76.7, 77.6))
}
SQUEEZENET = "squeezenet1_1"
NAMES = (SQUEEZENET, *LITE)


def published_errors(name: str) -> Published:
    """What its authors, or torchvision, say."""
    if name in LITE:
        return LITE[name]
    figures = published(find_weights(name, "IMAGENET1K_V1"))
    if figures.acc1 is None or figures.acc5 is None:
        raise SystemExit(f"torchvision publishes no accuracy of {name}")
    return Published(round(100 - figures.acc1, 2), round(100 - figures.acc5, 2), "torchvision's own weights")


def write_photos(folder: Path) -> list[Path]:
    """Copies foolbox's photos of ImageNet into FOLDER/photos, and writes their classes to FOLDER/photos.csv.

    The class is at the end of a file's name: imagenet_03_990.jpg. foolbox itself is not imported. Returns the copies.
    """
    spec = find_spec("foolbox")
    if spec is None or spec.submodule_search_locations is None:
        raise SystemExit("the package with the photos is not installed: pip install foolbox==3.3.4")
    found = sorted(Path(spec.submodule_search_locations[0], "data").glob("imagenet_*.jpg"))
    (folder / "photos").mkdir(parents=True, exist_ok=True)
    copies = [Path(shutil.copy(photo, folder / "photos")) for photo in found]
    with (folder / "photos.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([("image", "index"), *((f"photos/{photo.name}", class_of(photo)) for photo in copies)])
    return copies


def class_of(photo: Path) -> int:
    """The index of its class, which its name ends in."""
    return int(photo.stem.rpartition("_")[2])


@cache
def export_arguments(name: str, folder: Path) -> tuple[str, ...]:
    """What `torchless export` is given: a builder, or the checkpoint that examples/squeezenet_caffe.py writes to
    `folder`.
    """
    if name in LITE:
        short = name.removeprefix("efficientnet_")
        return (name, "--builder", f"examples.efficientnet_lite:{short}", "--activation", "softmax")
    sys.path.insert(0, EXAMPLES)
    import squeezenet_caffe

    checkpoint = folder / f"{name}.pth"
    subprocess.run([sys.executable, squeezenet_caffe.__file__, checkpoint], check=True, stdout=subprocess.DEVNULL)
    return tuple(squeezenet_caffe.export_arguments(checkpoint))


def reference(name: str, photos: list[Path], folder: Path) -> Answers:
    """PyTorch's answers: torchvision's network and torchvision's transform, with nothing of torchless's between.

    squeezenet1_1's checkpoint is in `folder`.
    """
    import torch
    from torchvision.models import get_model
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms._presets import ImageClassification

    sys.path.insert(0, EXAMPLES)
    import efficientnet_lite
    import squeezenet_caffe

    if name in LITE:
        number = int(name[-1])
        network, side = efficientnet_lite.build(number)[0], efficientnet_lite.GROWTH[number][2]
        values = {"mean": (127 / 255,) * 3, "std": (128 / 255,) * 3, "interpolation": InterpolationMode.BICUBIC}
        transform = ImageClassification(crop_size=side, resize_size=side + 32, **values)
    else:
        network = get_model(name, weights=None).eval()
        network.load_state_dict(torch.load(folder / f"{name}.pth", weights_only=True))
        transform = ImageClassification(crop_size=224, mean=squeezenet_caffe.MEAN, std=squeezenet_caffe.STD)
    return of_pytorch(network, transform, photos)
