"""Each way in which an artifact can give other answers than the user's own program is noticed, and its cause named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import onnx_model

from torchless import Classifier
from torchless.engine.head import sigmoid, softmax
from torchless.errors import UsageError
from torchless.expected import causes
from torchless.expected.answers import read_expected
from torchless.expected.check import MAX_UNITS, check_expected
from torchless.image.preprocess import preprocess
from torchless.model.manifest import Activation, Check, Manifest
from torchless.model.onnxfile import read_onnx
from torchless.model.preprocessing import Preprocess, Resize

SIZES = (60, 48), (48, 60), (90, 50)
Rows = np.ndarray


@pytest.fixture(scope="session")
def classifier(tiny: Path) -> Classifier:
    return Classifier(tiny, device="cpu")


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> list[Path]:
    """Three small photos, none of them square."""
    folder, names = tmp_path_factory.mktemp("images"), ("chessboard_GRAY.png", "ihc.png", "coffee.png")
    for name, size in zip(names, SIZES, strict=True):
        with Image.open(photos / name) as image:
            image.convert("RGB").resize(size).save(folder / name)
    return [folder / name for name in names]


def logits(classifier: Classifier, path: Path, spec: Preprocess | None = None, *, bgr: bool = False) -> Rows:
    """What PyTorch would give, for the test's purposes: the network on an image that is prepared as `spec` says."""
    with Image.open(path) as image:
        pixels = np.asarray(image.convert("RGB"))[:, :, :: -1 if bgr else 1]
    return classifier.run(preprocess(Image.fromarray(pixels), spec or classifier.manifest.preprocess)[None])[0]


@pytest.fixture
def found(classifier: Classifier, images: list[Path], tmp_path: Path) -> Callable[..., Check]:
    """The check of rows that a function gives for each image's path."""

    def check(row: Callable[[Path], dict[str, Any]], model: Classifier = classifier, **options: Any) -> Check:
        file = tmp_path / "answers.jsonl"
        file.write_text("".join(f"{json.dumps({'image': str(path)} | row(path))}\n" for path in images))
        return check_expected(model, read_expected(file), **options)

    return check


@pytest.fixture
def with_manifest(tiny: Path, tmp_path: Path) -> Callable[..., Classifier]:
    """The model with a manifest that a function changed."""

    def make(change: Callable[[Manifest], Manifest]) -> Classifier:
        model = onnx_model.load(tiny)
        del model.metadata_props[:]
        onnx_model.save(model, tmp_path / "changed.onnx")
        manifest = Manifest.from_json(read_onnx(tiny).metadata[Manifest.KEY])
        return Classifier(tmp_path / "changed.onnx", device="cpu", manifest=change(manifest))

    return make


def test_the_same_answers_pass(classifier: Classifier, found: Callable[..., Check]) -> None:
    def row(path: Path) -> dict[str, Any]:
        got = logits(classifier, path)
        best = classifier.labels[got.argmax()]
        return {"logits": got.tolist(), "probabilities": softmax(got).tolist(), "label": best}

    check = found(row)
    assert (check.name, check.passed, check.figure, check.limit) == ("expected", True, 0, 0)
    assert check.detail.startswith("3 images of answers.jsonl, logits within ")
    assert "not compared" not in check.detail


def test_what_the_file_does_not_say_is_said(classifier: Classifier, found: Callable[..., Check]) -> None:
    check = found(lambda path: {"logits": logits(classifier, path).tolist()})
    assert check.passed
    assert check.detail.endswith("the file has no probabilities and no labels, so these are not compared")


def test_the_limit_is_in_units_of_pytorchs_own_error(classifier: Classifier, found: Callable[..., Check]) -> None:
    own = max(row.own_error for row in classifier.manifest.parity.metrics)

    def off(path: Path, units: float) -> dict[str, Any]:
        return {"logits": (logits(classifier, path) + units * own * np.eye(5)[0]).tolist()}

    assert found(lambda path: off(path, 0.9 * MAX_UNITS)).passed
    assert not found(lambda path: off(path, 1.1 * MAX_UNITS)).passed


def test_without_a_unit_it_is_a_share_of_the_spread(classifier: Classifier, found: Callable[..., Check]) -> None:
    parity = replace(classifier.manifest.parity, metrics=())
    assert found(lambda path: {"logits": (logits(classifier, path) * 1.00005).tolist()}, parity=parity).passed
    assert not found(lambda path: {"logits": (logits(classifier, path) * 1.001).tolist()}, parity=parity).passed


def test_below_float32_answers_count(
    with_manifest: Callable[..., Classifier], classifier: Classifier, found: Callable[..., Check]
) -> None:
    reduced = with_manifest(lambda manifest: replace(manifest, precision="int8"))
    assert found(lambda path: {"logits": (logits(classifier, path) * 1.1).tolist()}, reduced).passed
    check = found(lambda path: {"logits": (-logits(classifier, path)).tolist()}, reduced)
    assert (check.passed, check.figure, check.limit) == (False, 3, 1)


@pytest.mark.parametrize(
    ("changes", "given"),
    [
        ({"resize": Resize(mode="exact", size=(32, 32)), "crop": None}, "give `resize` 32x32"),
        ({"resize": Resize(mode="short_side", size=(36,))}, "give `resize` 36"),
        ({"resize": Resize(mode="long_side", size=(32,))}, "give `resize` long:32"),
        ({"interpolation": "bilinear"}, "give `interpolation` bilinear"),
        ({"mean": (0.5,) * 3, "std": (0.5,) * 3}, "give `mean` 0.5,0.5,0.5 `std` 0.5,0.5,0.5"),
        ({"mean": (0.0,) * 3, "std": (1.0,) * 3, "interpolation": "bilinear"}, "`std` 1,1,1 `interpolation` bilinear"),
        ({"resize": Resize(mode="short_side", size=(35,), rounding="nearest")}, "sizes rounded as in timm"),
    ],
)
def test_another_transform(
    classifier: Classifier, found: Callable[..., Check], changes: dict[str, Any], given: str
) -> None:
    spec = replace(classifier.manifest.preprocess, **changes)
    check = found(lambda path: {"logits": logits(classifier, path, spec).tolist()})
    assert not check.passed
    assert "likely cause: the transform: the answers are of images prepared by " in check.detail
    assert given in check.detail


def test_a_network_without_transform_input(classifier: Classifier, found: Callable[..., Check]) -> None:
    """torchvision's GoogLeNet takes v * (0.229 / 0.5) + (0.485 - 0.5) / 0.5 of a red value, and so on; undone here."""
    own, imagenet = classifier.manifest.preprocess, ((0.485, 0.229), (0.456, 0.224), (0.406, 0.225))
    pairs = list(zip(own.mean, own.std, imagenet, strict=True))
    mean = tuple(m + s * (centre - 0.5) / 0.5 for m, s, (centre, _) in pairs)
    spec = replace(own, mean=mean, std=tuple(s * scale / 0.5 for _, s, (_, scale) in pairs))
    check = found(lambda path: {"logits": logits(classifier, path, spec).tolist()})
    assert check.detail.endswith(": give `no_transform_input`")


def test_another_order_of_the_channels(classifier: Classifier, found: Callable[..., Check]) -> None:
    check = found(lambda path: {"logits": logits(classifier, path, bgr=True).tolist()})
    assert "likely cause: the transform: " in check.detail
    assert check.detail.endswith("with the channels in the order blue, green, red")


def test_an_image_that_the_users_program_does_not_turn(
    classifier: Classifier, images: list[Path], found: Callable[..., Check]
) -> None:
    for path in images:
        with Image.open(path) as image:
            exif = image.getexif()
            exif[0x0112] = 6
            image.save(path.with_suffix(".jpg"), quality=95, exif=exif)
    images[:] = [path.with_suffix(".jpg") for path in images]
    try:
        check = found(lambda path: {"logits": logits(classifier, path).tolist()})
    finally:
        images[:] = [path.with_suffix(".png") for path in images]
    assert check.detail.endswith("not turned as EXIF says")


def test_a_size_that_only_pytorch_can_run(classifier: Classifier, found: Callable[..., Check]) -> None:
    """`network` stands for a PyTorch module, which runs images of any size; this one looks at nothing but means."""

    def network(prepared: np.ndarray) -> np.ndarray:
        return np.resize(prepared.mean(axis=(1, 2)), 5).astype(np.float64)

    half = Preprocess.centered(resize=64, crop=64, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bicubic")

    def row(path: Path) -> dict[str, Any]:
        with Image.open(path) as image:
            return {"logits": network(preprocess(image.convert("RGB"), half)).tolist()}

    assert "give `resize` 64 `crop` 64x64 `mean` 0.5,0.5,0.5" in found(row, network=network).detail


@pytest.mark.parametrize(
    ("exported", "recorded"), [("softmax", "sigmoid"), ("sigmoid", "softmax"), ("none", "sigmoid"), ("softmax", "none")]
)
def test_another_head(
    with_manifest: Callable[..., Classifier], found: Callable[..., Check], exported: Activation, recorded: Activation
) -> None:
    model = with_manifest(lambda manifest: replace(manifest, output=replace(manifest.output, activation=exported)))
    functions = {"softmax": softmax, "sigmoid": sigmoid, "none": np.asarray}

    def row(path: Path) -> dict[str, Any]:
        got = logits(model, path)
        return {"logits": got.tolist(), "probabilities": functions[recorded](got).tolist()}

    check = found(row, model)
    assert not check.passed
    assert "likely cause: the head: " in check.detail
    assert check.detail.endswith(f"give `activation` {recorded}")


@pytest.mark.parametrize("function", [softmax, sigmoid])
def test_answers_that_are_probabilities(
    classifier: Classifier, found: Callable[..., Check], function: Callable[[Rows], Rows]
) -> None:
    check = found(lambda path: {"logits": function(logits(classifier, path)).tolist()})
    assert f"the head: the answers are the {function.__name__} of what the exported network gives" in check.detail


def test_classes_in_another_order(classifier: Classifier, found: Callable[..., Check]) -> None:
    check = found(lambda path: {"logits": logits(classifier, path)[[1, 0, 2, 3, 4]].tolist()})
    assert "likely cause: the class order: the logits are those of the same classes in another order" in check.detail
    assert check.detail.endswith("class 0 of the answers is class 1 here (one)")


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("four", "one", "three", "two", "zero"), "the labels in alphabetical order, as ImageFolder numbers them"),
        (("one", "two", "three", "four", "zero"), "the labels are one line late"),
        (("four", "zero", "one", "two", "three"), "the labels are one line early"),
        (("a", "b", "c", "d", "e"), "in training, "),
    ],
)
def test_labels_in_another_order(
    classifier: Classifier, found: Callable[..., Check], names: tuple[str, ...], said: str
) -> None:
    def row(path: Path) -> dict[str, Any]:
        got = logits(classifier, path)
        return {"logits": got.tolist(), "label": names[got.argmax()]}

    check = found(row)
    assert not check.passed
    assert "likely cause: the class order: class " in check.detail
    assert said in check.detail


def test_what_nothing_explains_is_the_architecture(
    classifier: Classifier, found: Callable[..., Check], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(causes, "MAX_SECONDS", 0.0)  # one alternative is enough
    check = found(lambda path: {"logits": (logits(classifier, path) * 1.3).tolist()})
    assert "likely cause: the architecture or the weights" in check.detail
    near = found(lambda path: {"logits": (logits(classifier, path) * 1.001).tolist()})
    assert "likely cause: rounding, or another library's resize: the answers are equal to 0.0" in near.detail


def test_another_number_of_logits(found: Callable[..., Check]) -> None:
    check = found(lambda _: {"logits": [1.0, 2.0]})
    assert not check.passed
    assert "has 2 logits for an image, the model 5" in check.detail


def test_an_image_that_cannot_be_decoded(found: Callable[..., Check]) -> None:
    with pytest.raises(UsageError, match=r"answers.jsonl: image .*chessboard_GRAY.png: not an image"):
        found(lambda _: {"logits": [0.0] * 5, "data": "AAAA"})
