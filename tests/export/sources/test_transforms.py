"""Transforms as people write them: read into a Preprocess with which the runtime gives the same bits, or refused by the
step's name.
"""

from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from torch import nn
from torchvision import transforms as v1
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms._presets import ImageClassification

from torchless.errors import UsageError
from torchless.image.preprocess import preprocess
from torchless.model.preprocessing import Preprocess, Resize
from torchless_export.sources.transforms import as_transform, read_transform, torchvision_transform

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
NORMALIZE, NORMALIZE_2 = v1.Normalize(MEAN, STD), v2.Normalize(MEAN, STD)
TO_FLOAT = v2.ToDtype(torch.float32, scale=True)
SHORT, SQUARE = Resize(mode="short_side", size=(40,)), (32, 32)


class Renamed(v1.Resize):
    """Nothing but another name."""


def timms(**settings) -> v1.Compose:
    return timm.data.create_transform((3, 32, 48), is_training=False, mean=MEAN, std=STD, **settings)


@pytest.fixture(scope="module")
def pictures(photos: Path) -> list[Image.Image]:
    """A photo, upright, and small ones that are padded."""
    photo = Image.open(photos / "coffee.png").convert("RGB")
    return [photo, photo.rotate(90, expand=True), photo.resize((19, 11)), photo.resize((33, 41))]


@pytest.mark.parametrize(
    ("transform", "wanted"),
    [
        (
            v1.Compose([v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), NORMALIZE]),
            Preprocess(resize=SHORT, crop=SQUARE, mean=MEAN, std=STD),
        ),
        (
            v2.Compose([v2.Resize((32, 48), InterpolationMode.BICUBIC), v2.ToImage(), TO_FLOAT, NORMALIZE_2]),
            Preprocess(resize=Resize(mode="exact", size=(32, 48)), crop=None, mean=MEAN, std=STD,
                       interpolation="bicubic", scale="multiply"),
        ),
        (
            v1.Compose([nn.Sequential(Renamed([40]), v1.CenterCrop((32, 24))), v1.PILToTensor(),
                          v1.ConvertImageDtype(torch.float32), nn.Identity()]),
            Preprocess(resize=SHORT, crop=(32, 24), mean=(0.0,) * 3, std=(1.0,) * 3),
        ),
        (
            v2.Compose([v2.Resize(None, max_size=64, interpolation=Image.Resampling.LANCZOS), v2.CenterCrop(64),
                        v2.PILToTensor(), v2.ConvertImageDtype(), v2.Normalize([0.5], [0.25])]),
            Preprocess(resize=Resize(mode="long_side", size=(64,)), crop=(64, 64), mean=(0.5,) * 3, std=(0.25,) * 3,
                       interpolation="lanczos", scale="multiply"),
        ),
        (
            v1.Compose([v1.Grayscale(), v1.Resize(40), v1.CenterCrop(32), v1.ToTensor(), v1.Normalize(0.5, 0.25)]),
            Preprocess(resize=SHORT, crop=SQUARE, mean=(0.5,), std=(0.25,), channels=1, grayscale="first"),
        ),
        (
            v1.Compose([v1.Resize(40), v1.Grayscale(3), v1.CenterCrop(32), v1.ToTensor(), NORMALIZE]),
            Preprocess(resize=SHORT, crop=SQUARE, mean=MEAN, std=STD, grayscale="after_resize"),
        ),
        (
            v2.Compose([v2.Resize(40, "hamming"), v2.ToImage(), v2.ToDtype(torch.uint8, scale=True), v2.CenterCrop(32),
                        TO_FLOAT, v2.ToPureTensor()]),
            Preprocess(resize=SHORT, crop=SQUARE, mean=(0.0,) * 3, std=(1.0,) * 3, interpolation="hamming",
                       scale="multiply"),
        ),
        (
            ImageClassification(crop_size=32, resize_size=40, interpolation=InterpolationMode.NEAREST),
            Preprocess(resize=SHORT, crop=SQUARE, mean=MEAN, std=STD, interpolation="nearest"),
        ),
        (
            timms(crop_pct=0.8, interpolation="bicubic"),
            Preprocess(resize=Resize(mode="short_side", size=(40, 60), rounding="nearest"), crop=(32, 48), mean=MEAN,
                       std=STD, interpolation="bicubic"),
        ),
        (
            timms(crop_pct=0.8, crop_mode="squash"),
            Preprocess(resize=Resize(mode="exact", size=(40, 60)), crop=(32, 48), mean=MEAN, std=STD),
        ),
        (
            timms(crop_pct=1.0, crop_mode="border"),
            Preprocess(resize=Resize(mode="long_side", size=(32, 48), rounding="nearest"), crop=(32, 48), mean=MEAN,
                       std=STD, fill=(124, 116, 104)),
        ),
    ],
    ids=["v1", "v2", "sequential", "long side", "grey", "grey in three", "crop of a tensor", "preset", "timm",
         "timm squash", "timm border"],
)  # fmt: skip
def test_a_transform_is_read_and_the_runtime_equals_it(
    transform: object, wanted: Preprocess, pictures: list[Image.Image]
) -> None:
    spec = read_transform(transform)
    assert spec == wanted
    for image in pictures:
        theirs = as_transform(transform)(image)
        assert type(theirs) is torch.Tensor
        np.testing.assert_array_equal(preprocess(image, spec), theirs.numpy())
        np.testing.assert_array_equal(torchvision_transform(spec)(image).numpy(), theirs.numpy())


def test_a_network_of_one_channel_is_given_grey_images(pictures: list[Image.Image]) -> None:
    mnist = v1.Compose([v1.Resize((28, 28)), v1.ToTensor(), v1.Normalize((0.1307,), (0.3081,))])
    spec = read_transform(mnist, channels=1)
    assert (spec.channels, spec.grayscale, spec.mean) == (1, "first", (0.1307,))
    for image in pictures:
        wanted = mnist(image.convert("L"))
        assert torch.equal(as_transform(mnist, channels=1)(image), wanted)
        np.testing.assert_array_equal(preprocess(image, spec), wanted.numpy())


def test_a_transform_that_leaves_the_size(pictures: list[Image.Image]) -> None:
    cifar = v1.Compose([v1.ToTensor(), NORMALIZE])
    spec = read_transform(cifar)
    assert (spec.resize.mode, spec.crop, spec.size) == ("none", None, None)
    for image in pictures:
        np.testing.assert_array_equal(preprocess(image, spec), cifar(image).numpy())


class OwnForward(ImageClassification):
    def forward(self, img: Image.Image) -> torch.Tensor:
        return super().forward(img.rotate(1))


class OwnResize(v2.Resize):
    def transform(self, inpt: object, params: dict) -> object:
        return inpt


def before(*steps: object) -> v1.Compose:
    return v1.Compose([*steps, v1.ToTensor()])


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (OwnForward(crop_size=32), "OwnForward is no step that the manifest can express"),
        (before(OwnResize(4)), "OwnResize is no step"),
        (before(v1.Lambda(lambda image: image)), "Lambda is no step"),
        (lambda image: image, "function is no step"),
        (before(v1.RandomResizedCrop(32)), "RandomResizedCrop is for training; give the transform you evaluate with"),
        (before(v1.Pad(2)), "Pad is no step"),
        (before(v2.Resize(40, max_size=80)), "Resize with both `size` and `max_size`"),
        (before(v1.CenterCrop(32), v1.Resize(32)), "Resize comes after a crop"),
        (before(v1.Resize(32), v1.Resize(30)), "Resize comes after a resize"),
        (before(v1.CenterCrop(32), v1.CenterCrop(30)), "CenterCrop is the second crop"),
        (v2.Compose([v2.ToImage(), v2.Resize(40), TO_FLOAT]), "Resize resizes a tensor, .* Put it before"),
        (v2.Compose([v2.ToImage(), v2.Grayscale(), TO_FLOAT]), "Grayscale makes a tensor grey"),
        (v1.Compose([v1.ToTensor(), NORMALIZE, v1.CenterCrop(32)]), "CenterCrop comes too late"),
        (v1.Compose([v1.ToTensor(), NORMALIZE, NORMALIZE]), "Normalize comes twice"),
        (v1.Compose([v1.Resize(32)]), "does not end in floats from 0 to 1: add ToTensor"),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32)]), "ToDtype leaves values of 0 to 255; set scale=True"),
        (v2.Compose([v2.ToImage(), v2.ToDtype(torch.float16, scale=True)]), "ToDtype to torch.float16 cannot be"),
        (v2.Compose([TO_FLOAT, v2.ToImage()]), "ToDtype comes before the image is a tensor"),
        (v1.Compose([v1.Grayscale(), v1.ToTensor(), NORMALIZE]), "Normalize has 3 numbers, and"),
        (v1.Compose([v1.ToTensor(), v1.Normalize(MEAN, (0, 1, 1))]), "every std above 0"),
        (before(timm.data.transforms.ResizeKeepRatio(32, longest=0.5)), "ResizeKeepRatio with longest=0.5"),
        (before(timm.data.transforms.ResizeKeepRatio(32, random_scale_prob=0.5)), "with random sizes"),
        (before(timm.data.transforms.CenterCropOrPad(32, padding_mode="reflect")), "with padding_mode='reflect'"),
        (before(v1.Grayscale(3), timm.data.transforms.CenterCropOrPad(32, (1, 2, 3))), "cannot be padded with"),
        (timms(use_prefetcher=True), "does not end in floats"),
        (v1.Compose([timm.data.transforms.ToTensor()]), r"ToTensor \(timm's\) leaves values of 0 to 255"),
    ],
)  # fmt: skip
def test_a_step_that_cannot_be_expressed_is_named(transform: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_transform(transform)


def test_a_transform_that_fails_or_gives_something_else(pictures: list[Image.Image]) -> None:
    with pytest.raises(UsageError, match="the transform failed with TypeError"):
        as_transform(v1.Compose([v1.PILToTensor(), v1.ToTensor()]))(pictures[0])
