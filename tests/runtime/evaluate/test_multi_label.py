"""Multi-label models: the lists they are evaluated on, and the figures, against scikit-learn's."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, f1_score
from tests.data import LABELS

from torchless import Classifier
from torchless.batch.identity import run_identity
from torchless.errors import UsageError
from torchless.evaluate.curves import Curves
from torchless.evaluate.dataset import read_dataset
from torchless.evaluate.multi_label_data import read_multi_label_dataset
from torchless.evaluate.run import evaluate, evaluate_multi_label
from torchless.image.options import ImageOptions

ANIMALS = ("ant", "bee", "cat; tabby")
JSON_NAMES = """\
{"image": "a.png", "labels": ["cat; tabby", "ant"]}
{"image": "b.png", "labels": []}
{"image": "c.png", "label": "bee"}
"""
JSON_INDICES = """\
{"image": "a.png", "index": [2, 0]}
{"image": "b.png", "indices": []}
{"image": "c.png", "index": 1}
"""
WANTED = {"a.png": (0, 2), "b.png": (), "c.png": (1,)}


def read(path: Path, name: str, text: str, **options: object) -> dict[str, tuple[int, ...]]:
    (path / name).write_text(text)
    data = read_multi_label_dataset(path / name, labels=ANIMALS, **options)  # type: ignore[arg-type]
    return {Path(example.name).name: example.targets for example in data}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("x.csv", "image,labels\na.png,ant | cat; tabby\nb.png,\nc.png,bee\n"),
        ("x.csv", "Image,ant,bee,cat; tabby\na.png,1,0,1\nb.png,0,0,0\nc.png,0.0,1.0,0\n"),
        ("x.csv", "image,indices\na.png,0;2\nb.png,\nc.png,1\n"),
        ("x.jsonl", JSON_NAMES),
        ("x.jsonl", JSON_INDICES),
    ],
)
def test_lists_with_all_classes_of_an_image(name: str, text: str, tmp_path: Path) -> None:
    assert read(tmp_path, name, text) == WANTED


def test_lines_of_one_image_are_its_classes(tmp_path: Path) -> None:
    found = read(tmp_path, "x.csv", "image,label,index\na.png,ant,\nc.png,bee,\na.png,,2\n")
    assert found == {"a.png": (0, 2), "c.png": (1,)}


def test_names_of_a_class_map(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text('{"n1": 0, "n2": "bee"}')
    assert read(tmp_path, "x.csv", "image,labels\na.png,n1|n2\n", class_map=tmp_path / "map.json") == {"a.png": (0, 1)}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("x.csv", "image,labels\na.png,ant|bee;ant\n", r"line 2: both \| and ; are in 'ant\|bee;ant'"),
        ("x.csv", "image,labels\na.png,ant||bee\n", "line 2: a class is empty"),
        ("x.csv", "image,labels\na.png,ant\na.png,bee\n", "line 3: a.png is already in line 2"),
        ("x.csv", "image,labels,index\na.png,ant,1\n", "labels and index both say the classes; leave one out"),
        ("x.csv", "image,ant,bee\na.png,1,0\n", "the first line must name the columns: .*no column for 'cat; tabby'"),
        ("x.csv", "image,ant,bee,cat; tabby\na.png,1,yes,0\n", "line 2: the column 'bee' takes 0 or 1, got 'yes'"),
        ("x.csv", "image,labels\na.png,dog\n", "not labels of the model: 'dog' .line 2"),
        ("x.csv", "image,indices\na.png,0|7\n", "line 2: there is no class 7"),
        ("x.jsonl", '{"image": "a.png", "labels": 3}\n', "line 1: labels takes a list"),
        ("x.jsonl", '{"image": "a.png"}\n', "line 1: there is neither label nor index"),
        ("x.csv", "image,labels\n", "holds no labelled image"),
    ],
)
def test_what_is_not_certain_is_refused(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        read(tmp_path, name, text)


def test_folders_do_not_say_all_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="folders say one class of each image"):
        read_multi_label_dataset(tmp_path, labels=ANIMALS)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**16), images=st.integers(2, 40), levels=st.sampled_from([2, 5, 1000]))
def test_the_figures_are_scikit_learns(seed: int, images: int, levels: int) -> None:
    """With ties among scores (few levels), and images that count several times or not at all."""
    random = np.random.default_rng(seed)
    truth, scores = random.random((images, 4)) < 0.4, random.integers(0, levels, (images, 4)) / levels
    said = scores >= 0.5
    weights = random.integers(0, 3, images).astype(float)
    for times in (np.ones(images), weights):
        rows = np.repeat(np.arange(images), times.astype(int))
        known = truth[rows].any(axis=0) if len(rows) else np.zeros(4, bool)
        if not known.any():
            continue
        curves = Curves(truth, scores, said)
        wanted = [average_precision_score(truth[rows, each], scores[rows, each]) for each in np.flatnonzero(known)]
        np.testing.assert_allclose(curves.average_precision(times)[known], wanted, atol=1e-12)
        found = curves.summary(times)
        assert found.mean_average_precision == pytest.approx(np.mean(wanted))
        macro = {"labels": np.flatnonzero(known), "average": "macro", "zero_division": 0}
        assert found.f1_macro == pytest.approx(f1_score(truth[rows], said[rows], **macro))
        micro = f1_score(truth[rows], said[rows], average="micro", zero_division=0)
        assert found.f1_micro == pytest.approx(micro)


def test_intervals_are_those_of_a_bootstrap_and_the_same_each_time() -> None:
    random = np.random.default_rng(0)
    truth = random.random((200, 3)) < 0.4
    scores = np.clip(truth * 0.3 + random.random((200, 3)) * 0.7, 0, 1)
    curves = Curves(truth, scores, scores >= 0.5)
    once, again = curves.intervals(), curves.intervals()
    assert once == again
    for interval in once:
        assert interval.low < interval.value < interval.high
        assert interval.high - interval.low < 0.15
    few = Curves(truth[:20], scores[:20], scores[:20] >= 0.5).intervals()
    assert few[0].high - few[0].low > once[0].high - once[0].low


@pytest.fixture
def listed(photos: Path, tmp_path: Path) -> Path:
    rows = {"coffee.png": "zero|three", "rocket.jpg": "three;four", "chelsea.png": "one", "camera.png": ""}
    path = tmp_path / "list.csv"
    path.write_text("image,labels\n" + "".join(f"{photos / name},{classes}\n" for name, classes in rows.items()))
    return path


def test_a_multi_label_model_is_evaluated(
    multi_label: Path, listed: Path, tmp_path: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    rows = tmp_path / "rows.parquet"
    code, out, _ = command_line("torchless", "evaluate", multi_label, listed, "--json", "-o", rows, "-d", "cpu")
    assert code == 0
    found = json.loads(out)
    assert "top1_error" not in found
    data = pyarrow.parquet.read_table(rows).to_pylist()
    truth = np.array([[index in row["target_indices"] for index in range(5)] for row in data])
    scores = np.zeros((4, 5))
    for number, row in enumerate(data):
        assert len(row["predictions"]) == 5  # also those below their threshold
        for each in row["predictions"]:
            scores[number, each["index"]] = each["probability"]
    said = scores >= [0.5, 0.5, 0.5, 0.5, 0.9]
    wanted = [average_precision_score(truth[:, each], scores[:, each]) for each in (0, 1, 3, 4)]
    assert found["mean_average_precision"]["value"] == pytest.approx(np.mean(wanted))
    assert found["f1_micro"]["value"] == pytest.approx(f1_score(truth, said, average="micro"))
    assert found["classes"][2]["average_precision"] is None
    code, out, _ = command_line("torchless", "evaluate", multi_label, listed, "--threshold", 0.99, "-d", "cpu")
    assert code == 0
    assert "4 images, which have 4 of 5 classes" in out
    assert f"{np.mean(wanted) * 100:.2f} %  95 % interval" in out
    assert "top-1" not in out


def test_an_interrupted_run_goes_on_only_with_the_same_thresholds(
    multi_label: Path,
) -> None:
    runs = [
        run_identity(Classifier(multi_label, device="cpu", threshold=threshold), multi_label, ImageOptions())
        for threshold in (None, 0.5, 0.5)
    ]
    assert runs[0] != runs[1] == runs[2]


def test_what_a_multi_label_model_has_not(
    multi_label: Path, binary: Path, tiny: Path, listed: Path, tmp_path: Path, photos: Path,
    command_line: Callable[..., tuple[int, str, str]],
) -> None:  # fmt: skip
    for option, value in (("--against", multi_label), ("--confusion-matrix", tmp_path / "x.png")):
        code, _, err = command_line("torchless", "evaluate", multi_label, listed, option, value)
        assert code == 2
        assert f"{option} is for models that give each image one class" in err
    classifier = Classifier(multi_label, device="cpu")
    data = read_multi_label_dataset(listed, labels=LABELS)
    with pytest.raises(UsageError, match="multi-label model, which has no top-1 error"):
        evaluate(classifier, data)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="gives each image one class; evaluate it with evaluate"):
        evaluate_multi_label(Classifier(tiny, device="cpu"), data)
    (tmp_path / "two.csv").write_text(f"image,label\n{photos / 'rocket.jpg'},defect\n{photos / 'coffee.png'},fine\n")
    two = Classifier(binary, device="cpu")  # a model of two labels has a class for each image
    found = evaluate(two, read_dataset(tmp_path / "two.csv", labels=two.labels))
    assert (found.top1_error.value, found.images) == (0.0, 2)
