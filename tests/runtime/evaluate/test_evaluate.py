"""The figures, against scikit-learn's and numpy's; whole commands, on real photos through a small model."""

import csv
import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import accuracy_score, confusion_matrix, precision_score, recall_score, top_k_accuracy_score
from tests.data import LABELS
from tests.surroundings import PATIENCE_S

from torchless import Classifier
from torchless.batch.journal import Journal
from torchless.engine.results import Prediction, Result
from torchless.errors import ImageError, UsageError
from torchless.evaluate.agreement import compare_answers
from torchless.evaluate.dataset import Dataset, Example, read_dataset
from torchless.evaluate.run import evaluate
from torchless.evaluate.tally import BINS, Evaluation, Tally
from torchless.evaluate.text import evaluation_text

SEEDS = st.integers(0, 2**32 - 1)


def answers(seed: int, classes: int, images: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """(probabilities (images, classes), classes that occur (images,)), right about half the time."""
    random = np.random.default_rng(seed)
    truth, logits = random.integers(0, max(1, classes - 1), images), random.normal(0, 1.5, (images, classes))
    logits[np.arange(images), truth] += 1.5
    shares = np.exp(logits)
    return shares / shares.sum(1, keepdims=True), truth


def tally(probabilities: np.ndarray, truth: np.ndarray) -> Evaluation:
    labels = tuple(f"class {number}" for number in range(probabilities.shape[1]))
    count = Tally(Dataset("x", labels, tuple(Example(str(number), int(target)) for number, target in enumerate(truth))))
    for number, row in enumerate(probabilities):
        best = np.argsort(-row, kind="stable")[:5]
        predictions = tuple(Prediction(int(index), labels[index], float(row[index])) for index in best)
        count.add(Result(str(number), predictions))
    return count.evaluation(None)


@given(SEEDS, st.integers(2, 12))
def test_figures_are_scikit_learns(seed: int, classes: int) -> None:
    probabilities, truth = answers(seed, classes)
    got, best, every = tally(probabilities, truth), probabilities.argmax(1), list(range(classes))
    assert got.images == len(truth)
    assert 1 - got.top1_error.value == pytest.approx(accuracy_score(truth, best))
    if classes > 5:
        assert 1 - got.top5_error.value == pytest.approx(top_k_accuracy_score(truth, probabilities, k=5, labels=every))
    else:
        assert got.top5_error is None
    matrix = np.zeros((classes, classes), int)
    for row in got.classes:
        matrix[row.index, row.index] = row.correct
    for pair in got.confusions:
        matrix[pair.target, pair.predicted] = pair.images
    assert matrix.tolist() == confusion_matrix(truth, best, labels=every).tolist()
    present = [row.index for row in got.classes]
    assert present == sorted(set(truth.tolist()))
    precision = precision_score(truth, best, labels=present, average=None, zero_division=np.nan)
    assert [np.nan if row.precision is None else row.precision for row in got.classes] == pytest.approx(
        precision, nan_ok=True
    )
    recall = recall_score(truth, best, labels=present, average=None)
    assert [1 - row.top1_error.value for row in got.classes] == pytest.approx(recall)


@given(SEEDS)
def test_calibration_is_numpys(seed: int) -> None:
    """Guo et al., On Calibration of Modern Neural Networks, equations 2, 3 and 5."""
    probabilities, truth = answers(seed, 7)
    got, confidence, right = tally(probabilities, truth), probabilities.max(1), probabilities.argmax(1) == truth
    bins = np.digitize(confidence, np.arange(1, BINS + 1) / BINS, right=True)
    error = sum(
        (bins == m).sum() / len(truth) * abs(right[bins == m].mean() - confidence[bins == m].mean())
        for m in set(bins.tolist())
    )
    assert got.ece == pytest.approx(error)
    assert got.mean_confidence == pytest.approx(confidence.mean())
    assert [row.images for row in got.bins] == np.bincount(bins, minlength=BINS).tolist()


def test_bins_are_closed_above() -> None:
    shares = np.arange(1, BINS + 1) / BINS
    got = tally(np.stack([shares, -shares], 1), np.zeros(BINS, int))
    assert [(row.images, row.confidence) for row in got.bins] == [(1, share) for share in shares]


def test_what_is_worst_comes_first() -> None:
    """Surely, that is: eight wrong of ten before one of one, and that before two of four."""
    pairs = [(0, 1)] + [(1, 2)] * 2 + [(1, 1)] * 2 + [(2, 0)] * 5 + [(2, 3)] * 3 + [(2, 2)] * 2
    got = tally(np.eye(4)[[best for _, best in pairs]], np.array([target for target, _ in pairs]))
    assert [(pair.target, pair.predicted, pair.images) for pair in got.confusions] == [
        (2, 0, 5),
        (2, 3, 3),
        (1, 2, 2),
        (0, 1, 1),
    ]
    lines = evaluation_text(got, "x").splitlines()
    heading = lines.index("worst classes")
    assert [line.split()[:4] for line in lines[heading + 2 : heading + 5]] == [
        ["class", "2", "10", "8"],
        ["class", "0", "1", "1"],
        ["class", "1", "4", "2"],
    ]
    assert lines[-4:] == [
        "  5  class 2  taken for class 0",
        "  3  class 2  taken for class 3",
        "  2  class 1  taken for class 2",
        "  1  class 0  taken for class 1",
    ]


def test_a_model_that_knows() -> None:
    got = tally(np.eye(6)[[0, 1, 2, 5]], np.array([0, 1, 2, 5]))
    assert (got.top1_error.value, got.top1_error.low, got.ece, got.mean_confidence) == (0, 0, 0, 1)
    assert got.bins[-1].images == 4
    assert got.confusions == ()
    assert [row.index for row in got.classes] == [0, 1, 2, 5]


def test_equal_outputs_go_to_the_lower_index() -> None:
    """As numpy's and PyTorch's argmax have it; a model that always answers the same is no better for it."""
    got = tally(np.full((7, 7), 1 / 7), np.arange(7))
    assert (got.top1_error.value, got.top5_error.value) == (6 / 7, 2 / 7)


@given(SEEDS, SEEDS)
def test_agreement(one: int, other: int) -> None:
    first, truth = answers(one, 4)
    second, _ = answers(other, 4)
    data = Dataset("x", tuple("abcd"), tuple(Example(str(number), int(target)) for number, target in enumerate(truth)))
    said = [{str(number): int(best) for number, best in enumerate(p.argmax(1))} for p in (first, second)]
    del said[1]["0"]  # that it could not read
    got, right = compare_answers(data, *said), [(p.argmax(1) == truth)[1:] for p in (first, second)]
    assert got.images == len(truth) - 1
    assert got.same_answer.value == pytest.approx((first.argmax(1) == second.argmax(1))[1:].mean())
    assert (got.both_right, got.only_first_right) == ((right[0] & right[1]).sum(), (right[0] & ~right[1]).sum())
    assert (got.only_second_right, got.both_wrong) == ((~right[0] & right[1]).sum(), (~right[0] & ~right[1]).sum())
    with pytest.raises(UsageError, match="no image that both"):
        compare_answers(data, said[0], {})


@pytest.fixture(scope="module")
def tree(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight photos in three class folders."""
    root = tmp_path_factory.mktemp("tree")
    names = [
        "coffee.png",
        "chelsea.png",
        "rocket.jpg",
        "camera.png",
        "astronaut.png",
        "motorcycle_left.png",
        "grass.png",
        "coins.png",
    ]
    for number, name in enumerate(names):
        folder = root / LABELS[number % 3]
        folder.mkdir(exist_ok=True)
        with Image.open(photos / name) as photo:
            photo.convert("RGB").resize((80, 60)).save(folder / f"{number}.png")
    return root


@pytest.fixture
def damaged(tree: Path, tmp_path: Path) -> Path:
    """A list of all of these, and of two that cannot be read."""
    rows = [f"{path},{path.parent.name}\n" for path in sorted(tree.glob("*/*"))]
    (tmp_path / "empty.png").touch()
    (tmp_path / "list.csv").write_text("".join(["image,label\n", *rows, "empty.png,two\n", "gone.png,one\n"]))
    return tmp_path / "list.csv"


def test_evaluate_classifies_every_image(tiny: Path, tree: Path) -> None:
    classifier = Classifier(tiny, device="cpu")
    data = read_dataset(tree, labels=classifier.labels)
    got = evaluate(classifier, data, batch_size=3, workers=2)
    assert got.answers == {item.name: classifier.classify(item.name).predictions[0].index for item in data}
    assert got.images == len(data) == 8
    assert got.top1_error.value == sum(got.answers[item.name] != item.target for item in data) / 8
    assert got.images_per_second > 0
    assert evaluate(classifier, data, limit=3).answers == {item.name: got.answers[item.name] for item in data.sample(3)}
    json.dumps(got.to_dict(), allow_nan=False)


def test_evaluate_refuses_what_has_no_figures(tiny: Path, damaged: Path, tmp_path: Path) -> None:
    classifier = Classifier(tiny, device="cpu")
    with pytest.raises(UsageError, match="read for other labels"):
        evaluate(classifier, read_dataset(damaged, labels=("zero", "one", "two", "x")))
    (tmp_path / "bad.csv").write_text("image,index\nempty.png,0\ngone.png,1\n")
    with pytest.raises(
        ImageError, match=r"none of the 2 images could be evaluated; the first, .*empty.png: the file is empty"
    ):
        evaluate(classifier, read_dataset(tmp_path / "bad.csv", labels=classifier.labels))


@pytest.fixture
def run(command_line: Callable[..., tuple[int, str, str]], tiny: Path) -> Callable[..., tuple[int, str, str]]:
    return lambda *arguments: command_line("torchless", "evaluate", tiny, *arguments, "-d", "cpu")


def test_what_a_person_reads(run, tiny: Path, tree: Path) -> None:
    code, out, err = run(tree)
    assert code == 0
    assert re.fullmatch(r"8 done, \d+\.\d s, [\d,.]+ images/s\n", err)
    head, top1, top5, calibration, *rest = out.splitlines()
    assert head.startswith(f"{tiny} on {tree}: 8 images of 3 classes, ")
    assert head.endswith(" images/s")
    assert top1.startswith("  top-1 error  ")
    assert "95 % interval" in top1
    assert top5 == "  top-5 error  not given for a model of 5 classes or fewer"
    assert calibration.startswith("  calibration  ")
    assert "over 15 bins" in calibration
    assert {"worst classes", "most frequent confusions"} <= set(rest)


def test_json_has_every_figure_and_failures_are_named(run, damaged: Path) -> None:
    code, out, _ = run(damaged, "--json")
    report = json.loads(out)
    assert code == 1
    assert (report["images"], report["images_in_data"], report["images_drawn"], report["against"]) == (8, 10, 10, None)
    assert [(Path(row["image"]).name, row["error"].partition(":")[0]) for row in report["failed"]] == [
        ("empty.png", "the file is empty"),
        ("gone.png", f"cannot read {damaged.parent / 'gone.png'}"),
    ]
    assert sum(row["images"] for row in report["classes"]) == 8
    assert sum(row["images"] for row in report["bins"]) == 8
    assert report["top5_error"] is None
    code, out, _ = run(damaged)
    assert code == 1
    assert out.splitlines()[-3:-1] == [
        "2 images could not be evaluated, and no figure includes them",
        f"  {damaged.parent / 'empty.png'}: the file is empty",
    ]
    one = damaged.with_name("one.csv")
    one.write_text("".join(damaged.read_text().splitlines(keepends=True)[:-1]))
    assert "\n1 image could not be evaluated, and no figure includes it\n" in run(one)[1]


def test_two_models_count_an_image_once(run, damaged: Path, tiny: Path, tmp_path: Path) -> None:
    for more in ([], ["--output", tmp_path / "rows.csv"]):
        code, _, err = run(damaged, "--against", tiny, *more)
        assert code == 1
        assert err.count("failed: ") == 2
        assert re.search(r"^8 done, 2 failed[ ,].* images/s$", err, re.MULTILINE)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "csv", "parquet"])
def test_rows_have_their_true_class(run, damaged: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows.{suffix}"
    assert run(damaged, "--output", path)[0] == 1
    rows = {
        "jsonl": lambda: [json.loads(line) for line in path.read_text().splitlines()],
        "json": lambda: json.loads(path.read_text()),
        "csv": lambda: [row for row in csv.DictReader(path.read_text().splitlines()) if row["rank"] in ("1", "")],
        "parquet": lambda: pyarrow.parquet.read_table(path).to_pylist(),
    }[suffix]()
    wanted = [(item.name, item.target, LABELS[item.target]) for item in read_dataset(damaged, labels=LABELS)]
    assert [(row["image"], int(row["target_index"]), row["target_label"]) for row in rows] == wanted
    assert [bool(row["error"]) for row in rows] == [False] * 8 + [True] * 2
    assert sorted(item.name for item in tmp_path.iterdir()) == ["empty.png", "list.csv", path.name]


def test_a_sample_is_said_to_be_one(run, tree: Path) -> None:
    _, out, _ = run(tree, "--limit", 4)
    assert f"on {tree} (4 of 8 images, drawn at random): 4 images" in out


def test_against_another_model(run, changed: Callable[..., Path], tree: Path, tmp_path: Path) -> None:
    def turn_signs(model: object) -> None:
        for weight in model.graph.initializer:
            if weight.dims and len(weight.dims) == 4:
                weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * -1).tobytes()

    other = changed(turn_signs)
    code, out, err = run(tree, "--against", other, "--json")
    against = json.loads(out)["against"]
    assert code == 0
    assert "was changed after it was sealed" in err
    parts = against["agreement"]
    assert (
        sum(parts[name] for name in ("both_right", "only_first_right", "only_second_right", "both_wrong"))
        == parts["images"]
        == 8
    )
    assert parts["same_answer"]["value"] < 1
    assert against["evaluation"]["top1_error"]["value"] == (parts["only_first_right"] + parts["both_wrong"]) / 8
    assert (parts["only_first_right"], parts["only_second_right"]) != (0, 0)
    _, out, _ = run(tree, "--against", other, "--output", tmp_path / "rows.jsonl")
    rows = [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text().splitlines()]
    assert (
        sum(row["predictions"][0]["index"] == row["target_index"] for row in rows)
        == parts["both_right"] + parts["only_first_right"]
    )
    assert f"against {other}: top-1 error" in out
    assert out.splitlines()[-2].startswith("  McNemar's exact test: p = ")


def test_against_a_model_of_other_labels(
    run, changed: Callable[..., Path], tiny: Path, tree: Path, tmp_path: Path
) -> None:
    from torchless.model.artifact import read_artifact

    other = changed(manifest=read_artifact(tiny).manifest.to_json().replace('"zero"', '"nil"'))
    code, _, err = run(tree, "--against", other)
    assert code == 2
    assert "have different labels; if their classes are the same, give both --labels" in err
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    assert run(tree, "--against", other, "--labels", tmp_path / "labels.txt")[0] == 0


@pytest.fixture
def interrupt(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A function that sends Ctrl-C when `rows` rows are written."""
    real = Journal.write

    def after(rows: int) -> None:
        written = []

        def write(self: Journal, result: object) -> None:
            real(self, result)
            written.append(result)
            if len(written) == rows:
                signal.raise_signal(signal.SIGINT)

        monkeypatch.setattr(Journal, "write", write)

    return after


def test_a_resumed_run_may_want_fewer_images_or_other_labels(run, interrupt, tree: Path, tmp_path: Path) -> None:
    interrupt(8)
    assert run(tree, "--output", tmp_path / "rows.csv")[0] == 130
    (tmp_path / "map.json").write_text(json.dumps(dict.fromkeys(LABELS, "four")))
    report = json.loads(
        run(
            tree, "-o", tmp_path / "rows.csv", "--resume", "--limit", 2, "--class-map", tmp_path / "map.json", "--json"
        )[1]
    )
    assert (report["images"], report["images_per_second"]) == (2, None)
    assert [row["label"] for row in report["classes"]] == ["four"]
    assert len({row["image"] for row in csv.DictReader((tmp_path / "rows.csv").read_text().splitlines())}) == 2


@pytest.mark.parametrize(
    ("rows", "kept"), [(3, ["rows.csv.partial"]), (11, ["rows.csv.against.partial", "rows.csv.partial"])]
)
def test_an_interrupted_run_goes_on(
    run, interrupt, monkeypatch, tiny: Path, tree: Path, tmp_path: Path, rows: int, kept: list[str]
) -> None:
    command = tree, "--against", tiny, "--output", tmp_path / "rows.csv"
    whole = run(*command, "--json")[1]
    written = (tmp_path / "rows.csv").read_text()
    (tmp_path / "rows.csv").unlink()
    interrupt(rows)
    code, out, err = run(*command)
    assert (code, out) == (130, "")
    assert f"interrupted: {rows} answers are done, and kept in {tmp_path / 'rows.csv.partial'}" in err
    assert sorted(item.name for item in tmp_path.iterdir()) == kept
    assert run(*command)[0] == 2
    seen, real = [], Classifier.prepare
    monkeypatch.setattr(Classifier, "prepare", lambda self, image: seen.append(image) or real(self, image))
    code, out, _ = run(*command, "--resume", "--json")
    assert (code, len(seen)) == (0, 16 - rows)
    assert without_rate(out) == without_rate(whole)
    assert (tmp_path / "rows.csv").read_text() == written
    assert [item.name for item in tmp_path.iterdir()] == ["rows.csv"]


def without_rate(report: str) -> dict:
    return json.loads(
        report, object_hook=lambda row: {key: value for key, value in row.items() if key != "images_per_second"}
    )


def test_ctrl_c_without_output(run, monkeypatch: pytest.MonkeyPatch, tree: Path) -> None:
    monkeypatch.setattr(Tally, "add", lambda *_: signal.raise_signal(signal.SIGINT))
    code, out, err = run(tree)
    assert (code, out) == (130, "")
    assert err == "interrupted; with --output FILE what is done would be kept, and --resume would continue from there\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "error: cannot read nowhere: No such file"),
        (["TREE", "--resume"], "error: --resume needs --output"),
        (
            ["TREE", "--output", "rows.txt"],
            "error: cannot write rows to rows.txt: the name must end in .jsonl, .json, .csv or .parquet",
        ),
        (["TREE", "--output", "none/rows.csv"], "error: cannot write none/rows.csv"),
        (["TREE", "--limit", "0"], "--limit"),
        (["TREE", "--confusion-matrix", "x.gif"], "error: cannot draw x.gif: a picture ends in .png, .svg, .pdf"),
        (["TREE", "--confusion-matrix", "none/x.png"], "error: cannot draw none/x.png: there is no folder none"),
        (["TREE", "--class-map", "none.json"], "error: class map none.json"),
    ],
)
def test_wrong_usage(run, tree: Path, arguments: list[str], message: str) -> None:
    code, out, err = run(*[str(tree) if argument == "TREE" else argument for argument in arguments])
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


def test_images_are_read_as_asked(run, photos: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "rocket.jpg") as photo:
        photo.resize((90, 60)).save(tmp_path / "turned.jpg", exif=exif)
    (tmp_path / "list.csv").write_text("image,index\nturned.jpg,0\n")
    sure = [
        json.loads(run(tmp_path / "list.csv", "--json", *flags)[1])["mean_confidence"] for flags in ([], ["--no-exif"])
    ]
    assert sure[0] != sure[1]
    assert run(tmp_path / "list.csv", "--max-megapixels", 0.001)[0] == 1


def test_files_that_are_no_images_are_told_of(run, tmp_path: Path, photos: Path) -> None:
    (tmp_path / "zero").mkdir()
    (tmp_path / "zero" / "a.png").write_bytes((photos / "coffee.png").read_bytes())
    (tmp_path / "zero" / "b.xml").touch()
    code, _, err = run(tmp_path)
    assert (code, "1 file is no image: .xml 1\n" in err) == (0, True)
    code, out, err = run(tmp_path, "--strict", "--json")
    assert (code, "no image:" in err) == (1, False)
    assert json.loads(out)["failed"] == [
        {"image": str(tmp_path / "zero" / "b.xml"), "error": "not an image: its name ends in .xml"}
    ]


def test_a_bar_on_a_terminal_and_the_figures_after_it(tiny: Path, tree: Path) -> None:
    here, there = pty.openpty()
    command = [sys.executable, "-m", "torchless", "evaluate", tiny, tree, "-d", "cpu"]
    process = subprocess.Popen(command, stdout=there, stderr=there, env=os.environ | {"TERM": "xterm", "COLUMNS": "80"})
    os.close(there)
    shown = b""
    try:
        while chunk := os.read(here, 4096):
            shown += chunk
    except OSError:  # closed at the other end
        pass
    assert process.wait(PATIENCE_S) == 0
    assert shown.index(b"/8") < shown.index(b"top-1 error")
