"""The four lines that say what a model is, and what of it was assumed."""

from dataclasses import replace

import pytest

from torchless.model.explanation import assumed_steps, explanation
from torchless.model.manifest import InputInfo, Manifest, ModelInfo, OutputInfo
from torchless.model.preprocessing import Preprocess, PreprocessChanges, Resize

SPEC = Preprocess.centered(resize=232, crop=224, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
PRETRAINED = Manifest(
    model=ModelInfo(name="resnet50", source="torchvision", weights="IMAGENET1K_V2"),
    preprocess=SPEC,
    labels=("tench", "goldfish", "toilet tissue"),
    input=InputInfo(name="input", shape=("batch", 3, 224, 224)),
    output=OutputInfo(name="logits"),
)
CHECKPOINT = replace(
    PRETRAINED,
    model=ModelInfo(name="resnet50", source="torchvision", weights="mine.pth", checkpoint="mine.pth"),
    assumed=("architecture", "transform", "activation", "labels"),
)


def test_nothing_of_pretrained_weights_is_assumed() -> None:
    assert explanation(PRETRAINED).splitlines() == [
        "architecture torchvision's resnet50, weights IMAGENET1K_V2",
        "transform    resize short side to 232, bilinear, centre crop 224×224, mean 0.5,0.5,0.5, std 0.25,0.25,0.25",
        "activation   softmax: an image has one class",
        "labels       3: 'tench' … 'toilet tissue', those of torchvision's weights",
    ]


def test_what_was_assumed_is_marked_with_what_to_do() -> None:
    changes = PreprocessChanges(resize=Resize(mode="short_side", size=(232,)), mean=(0.5,) * 3)
    model = replace(CHECKPOINT.model, changes=changes)
    assert explanation(replace(CHECKPOINT, model=model)).splitlines() == [
        "architecture torchvision's resnet50, rebuilt from the shapes in mine.pth [assumed]",
        (
            "             assumed: a checkpoint holds no strides, pooling or activations; if yours differ, export the "
            "network itself"
        ),
        (
            "transform    resize short side to 232, bilinear [assumed], centre crop 224×224 [assumed], "
            "mean 0.5,0.5,0.5, std 0.25,0.25,0.25 [assumed]"
        ),
        (
            "             assumed: from torchvision's default weights; give `interpolation`, `crop`, `std` if you "
            "trained otherwise"
        ),
        "activation   softmax: an image has one class [assumed]",
        "             assumed: if your network ends otherwise, give `activation`: softmax, sigmoid or none",
        "labels       3: 'tench' … 'toilet tissue', those of torchvision's weights [assumed]",
        "             assumed: give `labels` if your classes are others",
    ]


@pytest.mark.parametrize(
    ("model", "line"),
    [
        (ModelInfo(name="x", source="module", weights="mine.Net"), "the live network mine.Net"),
        (ModelInfo(name="x", source="builder", weights="a:b", builder="a:b"), "as a:b builds it"),
        (
            ModelInfo(name="x", source="builder", weights="w.pth", builder="a:b", checkpoint="w.pth"),
            "as a:b builds it, with the weights of w.pth",
        ),
        (ModelInfo(name="x", source="torchvision", weights=None), "torchvision's x, random weights"),
        (
            ModelInfo(name="x", source="torchvision", weights="w", checkpoint="w", transform_input=False),
            "torchvision's x without transform_input, rebuilt from the shapes in w",
        ),
        (ModelInfo(name="x", source="unknown", weights=None), "as in the ONNX file, "),
    ],
)
def test_where_the_architecture_comes_from(model: ModelInfo, line: str) -> None:
    assert f"architecture {line}" in explanation(replace(PRETRAINED, model=model))


def test_a_grey_image_may_be_assumed_of_a_live_network() -> None:
    spec = replace(SPEC, channels=1, grayscale="first", mean=(0.5,), std=(0.5,))
    model = ModelInfo(name="x", source="module", weights="mine.Net")
    text = explanation(replace(PRETRAINED, model=model, preprocess=spec, assumed=("transform",)))
    assert "transform    grey [assumed], resize short side to 232, bilinear, centre" in text
    assert "assumed: the network takes one channel, so images are opened as grey" in text


def test_thresholds() -> None:
    output = OutputInfo(name="logits", activation="sigmoid", thresholds=(0.4, 0.4, 0.4))
    assert "one output decides between two; present from 0.4\n" in explanation(replace(PRETRAINED, output=output))
    output = replace(output, thresholds=(0.4, 0.5, 0.6))
    assert "present from 0.4 to 0.6, by class\n" in explanation(replace(PRETRAINED, output=output))


def test_a_resize_that_is_exact_says_that_there_is_no_crop() -> None:
    changes = PreprocessChanges(resize=Resize(mode="exact", size=(224, 224)))
    assert assumed_steps(changes.apply(SPEC), changes) == ["interpolation", "mean", "std"]
    without = PreprocessChanges(resize=Resize(mode="none"), crop=(224, 224), mean=SPEC.mean, std=SPEC.std)
    assert assumed_steps(without.apply(SPEC), without) == []
