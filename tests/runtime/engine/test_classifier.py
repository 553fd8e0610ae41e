import io
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tests import onnx_model
from tests.data import LABELS

from torchless import Classifier, FileDescription, ImageOptions, Result
from torchless.engine.head import softmax
from torchless.engine.results import Input
from torchless.errors import (
    ArtifactDamagedError,
    ArtifactError,
    ExternalDataError,
    ImageDecodeError,
    ImageReadError,
    InferenceError,
    ManifestError,
    ManifestMissingError,
    UsageError,
)
from torchless.model.artifact import read_artifact
from torchless.model.manifest import DataFile, Manifest
from torchless.model.onnxfile import read_onnx
from torchless.model.preprocessing import Resize

DESCRIPTION = FileDescription(
    resize=Resize(mode="short_side", size=(37,)), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), interpolation="bicubic"
)


@pytest.fixture(scope="session")
def classifier(tiny: Path) -> Classifier:
    return Classifier(tiny, device="cpu")


@pytest.fixture
def manifest(tiny: Path) -> Manifest:
    return Manifest.from_json(read_onnx(tiny).metadata[Manifest.KEY])


def test_predictions_are_ranked_and_add_up(classifier: Classifier, photos: Path) -> None:
    result = classifier.classify(photos / "coffee.png", top_k=5)
    assert result.image == str(photos / "coffee.png")
    probabilities = [prediction.probability for prediction in result.predictions]
    assert probabilities == sorted(probabilities, reverse=True)
    assert sum(probabilities) == pytest.approx(1)
    assert all(LABELS[prediction.index] == prediction.label for prediction in result.predictions)


def test_every_kind_of_image_gives_the_same_answer(classifier: Classifier, photos: Path) -> None:
    path = photos / "coffee.png"
    with Image.open(path) as image:
        kinds = [str(path), path, path.read_bytes(), io.BytesIO(path.read_bytes()), image, np.asarray(image)]
        rows = {classifier.classify(kind).predictions for kind in kinds}
    assert len(rows) == 1


def test_a_batch_may_be_one_array(classifier: Classifier, photos: Path) -> None:
    with Image.open(photos / "coffee.png") as image:
        pixels = np.asarray(image)
    batch = np.stack([pixels, pixels[::-1]])
    np.testing.assert_array_equal(classifier.logits(batch), classifier.logits(list(batch)))
    assert [row.predictions for row in classifier.classify_many(batch)] == [
        classifier.classify(one).predictions for one in batch
    ]
    assert classifier.logits(iter([])).shape == (0, 5)
    assert classifier.logits(batch[:0]).shape == (0, 5)


@pytest.mark.parametrize(
    ("images", "told"),
    [
        ("a.jpg", "is one image, where several belong: give a list"),
        (Path("a.jpg"), "is one image"),
        (b"\xff\xd8", "is one image"),
        (io.BytesIO(b"two\nlines"), "is one image"),
        (Image.new("RGB", (4, 4)), "is one image"),
        (Input("a", "a.jpg"), "is one image"),
        (np.zeros((4, 5, 3), np.uint8), r"is an array \(4, 5, 3\): give a batch, uint8 \(N, H, W, 3\)"),
        (None, "is a NoneType, where several belong"),
    ],
)
def test_one_image_is_not_taken_for_many(classifier: Classifier, images: object, told: str) -> None:
    """A name would be an image per letter, an array one per row, a file one per line."""
    for method in (classifier.classify_many, classifier.logits):
        with pytest.raises(UsageError, match=f"images {told}"):
            method(images)


def test_arrays_of_names_are_several_images(classifier: Classifier, photos: Path) -> None:
    names = np.array([str(photos / "coffee.png"), str(photos / "rocket.jpg")])
    assert [row.image for row in classifier.classify_many(names)] == list(names)


def test_it_says_what_it_is(tiny: Path) -> None:
    assert repr(Classifier(tiny, device="cpu", threads=1)) == f"<Classifier {tiny}: tiny, 5 classes, cpu, threads=1>"


def test_the_example_is_as_many_images_as_are_asked_for(classifier: Classifier) -> None:
    side, _ = classifier.manifest.image_size
    assert classifier.run(classifier.example(2)).shape == (2, len(classifier.labels))
    np.testing.assert_array_equal(classifier.example()[0], classifier.preprocess(np.zeros((side, side, 3), np.uint8)))
    with pytest.raises(UsageError, match="`batch_size` must be at least 1, got 0"):
        classifier.example(0)


def test_top_k(classifier: Classifier, photos: Path) -> None:
    assert len(classifier.classify(photos / "coffee.png", top_k=2).predictions) == 2
    assert len(classifier.classify(photos / "coffee.png", top_k=99).predictions) == len(LABELS)
    with pytest.raises(UsageError, match="`top_k` must be at least 1"):
        classifier.classify(photos / "coffee.png", top_k=0)
    with pytest.raises(UsageError, match="`top_k` must be a whole number, got '3'"):
        classifier.classify(photos / "coffee.png", top_k="3")


def test_many_images_keep_their_order_and_their_faults(classifier: Classifier, photos: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    images = [
        photos / "coffee.png",
        broken,
        Input("x", None, "no such thing"),
        tmp_path / "none.png",
        photos / "rocket.jpg",
    ]
    for batch_size in (1, 2, 3, 8):
        results = list(classifier.classify_many(images, batch_size=batch_size, top_k=1))
        assert [result.image for result in results] == [
            str(images[0]),
            str(broken),
            "x",
            str(images[3]),
            str(images[4]),
        ]
        assert [result.ok for result in results] == [True, False, False, False, True]
        assert results[2].error == "no such thing"
        assert results[0].predictions[0].label == classifier.classify(images[0], top_k=1).predictions[0].label


@pytest.mark.parametrize(("workers", "most"), [(1, 3), (2, 12), (3, 18)])
def test_classify_many_reads_no_further_than_its_window(
    classifier: Classifier, photos: Path, workers: int, most: int
) -> None:
    taken = 0

    def endless():
        nonlocal taken
        while True:
            taken += 1
            yield photos / "coffee.png"

    stream = classifier.classify_many(endless(), batch_size=3, workers=workers)
    assert taken == 0
    for number in range(1, 20):
        assert isinstance(next(stream), Result)
        assert taken <= number - 1 + most
    stream.close()
    for name in ("batch_size", "workers"):
        with pytest.raises(UsageError, match=name):
            classifier.classify_many([], **{name: 0})


def test_one_image_starts_no_thread(classifier: Classifier, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torchless.engine.ordered", None)
    (result,) = classifier.classify_many([photos / "coffee.png"])
    assert result.ok


def test_a_callers_image_may_come_twice(classifier: Classifier, photos: Path) -> None:
    """Pillow opens lazily, and two threads would decode the same image at once."""
    for _ in range(5):
        with Image.open(photos / "coffee.png") as image:
            results = list(classifier.classify_many([image] * 8, workers=4))
        assert all(result.ok for result in results)
        assert len({result.predictions for result in results}) == 1


def test_a_single_image_raises(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ImageReadError, match=r"cannot read .*none.jpg"):
        classifier.classify(tmp_path / "none.jpg")
    with pytest.raises(ImageDecodeError):
        classifier.classify(b"no image")


def test_logits(classifier: Classifier, photos: Path) -> None:
    logits = classifier.logits([photos / "coffee.png", photos / "rocket.jpg"])
    assert (logits.shape, logits.dtype) == ((2, 5), np.float32)
    assert classifier.logits([]).shape == (0, 5)
    best = classifier.classify(photos / "coffee.png").predictions[0]
    assert best.probability == pytest.approx(softmax(logits)[0].max())


def test_softmax_of_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 1000.0, -1000.0]], np.float32)), [[0.5, 0.5, 0]])


def test_image_options_reach_the_images(tiny: Path, photos: Path) -> None:
    strict = Classifier(tiny, device="cpu", image_options=ImageOptions(max_pixels=1000))
    (result,) = strict.classify_many([photos / "coffee.png"])
    assert "600×400" in result.error


def test_own_labels(tiny: Path, photos: Path) -> None:
    classifier = Classifier(tiny, device="cpu", labels=list("abcde"))
    assert {prediction.label for prediction in classifier.classify(photos / "coffee.png").predictions} == set("abcde")
    with pytest.raises(UsageError, match="^`labels` holds 2 labels, the model has 5 classes"):
        Classifier(tiny, device="cpu", labels=["a", "b"])


def test_own_labels_in_every_form(tiny: Path, tmp_path: Path) -> None:
    """A path is never taken for the characters of its name, of which there may be one for each class."""
    (file := tmp_path / "mine.txt").write_text("\n".join("abcde"))
    for form in (file, str(file), dict(enumerate("abcde")), {name: index for index, name in enumerate("abcde")}):
        assert Classifier(tiny, device="cpu", labels=form).labels == tuple("abcde")
    for wrong, says in (
        ("x.txt", "^labels file x.txt: No such file"),
        ({1: "a", 2: "b"}, "^`labels`: classes are numbered from 1"),
        ([1, 2, 3, 4, 5], "^`labels` takes names, class 0 first, not 1$"),
    ):
        with pytest.raises(UsageError, match=says):
            Classifier(tiny, device="cpu", labels=wrong)


def test_a_model_that_answers_nan(changed: Callable[..., Path], photos: Path) -> None:
    def poison(model: onnx_model.ModelProto) -> None:
        for weight in model.graph.initializer:
            if weight.dims == [len(LABELS)]:
                weight.CopyFrom(onnx_model.tensor(weight.name, [np.nan] * len(LABELS)))

    classifier = Classifier(changed(poison), device="cpu")
    with pytest.raises(InferenceError, match="NaN or infinity"):
        classifier.classify(photos / "coffee.png")
    (result,) = classifier.classify_many([photos / "coffee.png"])
    assert "NaN" in result.error


def freeze(size: int) -> Callable[[onnx_model.ModelProto], None]:
    def change(model: onnx_model.ModelProto) -> None:
        for tensor in (*model.graph.input, *model.graph.output):
            tensor.type.tensor_type.shape.dim[0].dim_value = size

    return change


@pytest.mark.parametrize("size", [1, 2])
def test_a_graph_with_a_fixed_batch(
    changed: Callable[..., Path], classifier: Classifier, photos: Path, size: int
) -> None:
    images = [photos / name for name in ("coffee.png", "rocket.jpg", "chelsea.png")]
    fixed = Classifier(changed(freeze(size)), device="cpu")
    np.testing.assert_allclose(fixed.logits(images), classifier.logits(images), rtol=0, atol=1e-4)


def test_probabilities_are_not_made_softer(changed: Callable[..., Path], manifest: Manifest, photos: Path) -> None:
    def add_softmax(model: onnx_model.ModelProto) -> None:
        model.graph.node[-1].output[0] = "raw"
        model.graph.node.append(onnx_model.node("Softmax", ["raw"], ["logits"]))

    text = replace(manifest, output=replace(manifest.output, activation="none")).to_json()
    result = Classifier(changed(add_softmax, manifest=text), device="cpu").classify(photos / "coffee.png")
    assert sum(prediction.probability for prediction in result.predictions) == pytest.approx(1)


def test_a_file_without_manifest_says_exactly_what_is_missing(changed: Callable[..., Path]) -> None:
    path = changed(manifest="")
    with pytest.raises(
        ManifestMissingError, match=r"has no manifest.*give `manifest`.*missing `resize`, `mean`, `std`, `labels`$"
    ):
        Classifier(path, device="cpu")
    with pytest.raises(ManifestMissingError, match=r"missing `std`$"):
        Classifier(path, device="cpu", description=replace(DESCRIPTION, std=None), labels=LABELS)


def test_a_file_without_manifest_runs_when_it_is_described(
    changed: Callable[..., Path], classifier: Classifier, manifest, photos: Path
) -> None:
    path, image = changed(manifest=""), photos / "coffee.png"
    for kwargs in ({"description": DESCRIPTION, "labels": LABELS}, {"manifest": manifest}):
        np.testing.assert_array_equal(
            Classifier(path, device="cpu", **kwargs).logits([image]), classifier.logits([image])
        )


def test_a_description_that_makes_no_sense_is_wrong_usage(changed: Callable[..., Path], manifest: Manifest) -> None:
    path = changed(manifest="")
    for wrong, message in (
        ({"description": replace(DESCRIPTION, std=(0.0, 1.0, 1.0))}, "every std above 0"),
        ({"description": replace(DESCRIPTION, mean=(float("nan"), 0.5, 0.5))}, "must be finite"),
        ({"labels": LABELS[:4]}, "holds 4 labels, the model has 5 classes"),
        ({"description": DESCRIPTION, "manifest": manifest}, "`manifest` is complete; leave `resize`, `mean`"),
    ):
        with pytest.raises(UsageError, match=message):
            Classifier(path, device="cpu", **{"description": DESCRIPTION, "labels": LABELS} | wrong)


def test_a_graph_that_leaves_its_classes_open(changed: Callable[..., Path], photos: Path) -> None:
    def keep_some(model: onnx_model.ModelProto) -> None:
        """How many classes are left depends on their values: no shape inference can tell."""
        model.graph.node[-1].output[0] = "all"
        model.graph.initializer.append(onnx_model.tensor("which", [True] * 5, "bool"))
        model.graph.node.append(onnx_model.node("Compress", ["all", "which"], ["logits"], axis=1))
        model.graph.output[0].type.tensor_type.shape.dim[1].dim_param = "classes"

    path = changed(keep_some, manifest="")
    classifier = Classifier(path, device="cpu", description=DESCRIPTION, labels=LABELS[:4])
    (result,) = classifier.classify_many([photos / "coffee.png"])
    assert result.error == "the model gave 5 classes, but there are 4 labels"


def test_a_manifest_is_not_contradicted(tiny: Path, manifest: Manifest) -> None:
    with pytest.raises(
        UsageError, match=r"has its own manifest, which `resize`, `mean`, `std`, `interpolation` would contradict"
    ):
        Classifier(tiny, description=DESCRIPTION)
    with pytest.raises(UsageError, match=r"which `manifest` would contradict"):
        Classifier(tiny, manifest=manifest)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: replace(m, labels=m.labels[:3]), "the manifest has 3 labels, the graph 5 classes"),
        (
            lambda m: replace(m, input=replace(m.input, name="x")),
            "the manifest says x → logits, the graph has input → logits",
        ),
        (
            lambda m: replace(m, output=replace(m.output, name="y")),
            "the manifest says input → y, the graph has input → logits",
        ),
        (
            lambda m: replace(m, preprocess=replace(m.preprocess, crop=(33, 33))),
            r"images are passed as float32 \(batch, 3, 33, 33\)",
        ),
    ],
)
def test_a_manifest_that_does_not_fit_its_graph(
    changed: Callable[..., Path], manifest: Manifest, change: Callable, message: str
) -> None:
    with pytest.raises(ManifestError, match=message):
        Classifier(changed(manifest=change(manifest).to_json()), device="cpu")


def test_a_graph_that_is_no_classifier(changed: Callable[..., Path], tmp_path: Path, manifest: Manifest) -> None:
    def cut(model: onnx_model.ModelProto) -> None:
        first = model.graph.node[0].output[0]
        model.graph.node.append(onnx_model.node("Identity", [first], ["map"]))
        model.graph.output.append(onnx_model.value("map", ["batch", 8, 16, 16]))

    text = replace(manifest, output=replace(manifest.output, name="map")).to_json()
    with pytest.raises(ArtifactError, match="its output map has 4 dimensions"):
        Classifier(changed(cut, manifest=text), device="cpu")


def test_two_inputs_are_no_classifier(changed: Callable[..., Path]) -> None:
    def add(model: onnx_model.ModelProto) -> None:
        model.graph.input.append(onnx_model.value("mask", [1]))

    with pytest.raises(ManifestError, match="it has 2 inputs and 1 outputs"):
        Classifier(changed(add, manifest=""), description=DESCRIPTION, labels=LABELS)


def test_a_damaged_manifest_names_the_file(changed: Callable[..., Path]) -> None:
    with pytest.raises(ManifestError, match=r"changed.onnx: the manifest is not valid JSON"):
        Classifier(changed(manifest="{"))


def test_external_data_that_was_left_behind(changed: Callable[..., Path], manifest: Manifest, pair: Path) -> None:
    text = replace(manifest, files=DataFile(data="tiny.onnx.data", sha256="0" * 64)).to_json()
    with pytest.raises(
        ExternalDataError, match=r"keeps its weights in tiny.onnx.data, which is not beside it; copy both"
    ):
        Classifier(changed(manifest=text))
    model, weights = onnx_model.load(pair), pair.with_name("weights.bin")
    onnx_model.set_metadata(model, {Manifest.KEY: manifest.to_json()})  # which names no file
    onnx_model.move_data(model, weights.name)
    onnx_model.save(model, pair)
    pair.with_name("tiny.onnx.data").rename(weights)
    assert Classifier(pair, device="cpu").device == "cpu"
    weights.unlink()
    with pytest.raises(ExternalDataError, match=r"tiny.onnx keeps its weights in weights.bin"):
        Classifier(pair, device="cpu")


def test_a_damaged_graph(changed: Callable[..., Path]) -> None:
    with pytest.raises(ArtifactDamagedError, match="cannot load"):
        Classifier(changed(lambda model: setattr(model.graph.node[0], "op_type", "Convolute")), device="cpu")


THREADS = """
import os, sys
from torchless.engine import classifier, plan, session
for module in (classifier, plan, session):
    module.available_cpus = lambda: 3
model, image = sys.argv[1:]
opened = classifier.Classifier(model, device="cpu", threads=1)
before = len(os.listdir("/proc/self/task"))
found = [(result.ok, len(os.listdir("/proc/self/task"))) for result in opened.classify_many([image] * 12)]
assert all(ok for ok, _ in found)
print(max(threads for _, threads in found) - before)
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="the system does not list a process's threads")
def test_many_images_take_no_more_threads_than_there_are_processors(tiny: Path, photos: Path) -> None:
    """Counted by the system, ONNX Runtime's own threads with them, in a process that has no others; the caller's thread
    only waits.
    """
    command = [sys.executable, "-c", THREADS, tiny, photos / "coffee.png"]
    assert 0 < int(subprocess.run(command, capture_output=True, check=True).stdout) <= 3


@pytest.mark.parametrize(
    ("resize", "crop", "decoded"),
    [
        (Resize(mode="short_side", size=(37,)), (32, 32), (150, 100)),
        (Resize(mode="short_side", size=(40, 20), rounding="nearest"), (32, 32), (150, 100)),
        (Resize(mode="exact", size=(32, 32)), None, (150, 100)),
        (Resize(mode="exact", size=(32, 32)), (32, 32), (150, 100)),
        (Resize(mode="long_side", size=(60,)), (32, 32), (300, 200)),
        (Resize(mode="none"), (32, 32), (600, 400)),
    ],
)
def test_fast_decoding_leaves_enough_for_any_resize(
    changed: Callable[..., Path], tiny: Path, photos: Path, tmp_path: Path, resize: Resize, crop: Any, decoded: Any
) -> None:
    manifest = read_artifact(tiny).manifest
    spec = replace(manifest.preprocess, resize=resize, crop=crop)
    model = changed(manifest=replace(manifest, preprocess=spec).to_json())
    Image.open(photos / "coffee.png").convert("RGB").save(tmp_path / "photo.jpg")
    exact = Classifier(model, device="cpu")
    fast = Classifier(model, device="cpu", image_options=ImageOptions(decode="fast"))
    assert fast.decode(tmp_path / "photo.jpg").size == decoded
    off = np.abs(fast.preprocess(tmp_path / "photo.jpg") - exact.preprocess(tmp_path / "photo.jpg"))
    assert off.mean() < 0.1
