import re
import sys
from pathlib import Path

import pytest
from PIL import Image

from torchless.engine.results import Prediction, Result
from torchless.errors import MissingDependencyError, UsageError
from torchless.evaluate.confusion_matrix import check_picture, draw_confusion_matrix
from torchless.evaluate.dataset import Dataset, Example
from torchless.evaluate.tally import Evaluation, Tally
from torchless.palette import LIGHT

LABELS = ("cat", "$dog_1$", "子犬", "a label that is much longer than a picture has room for", "never shown")


def evaluation(pairs: list[tuple[int, int]]) -> Evaluation:
    """Of images of these (true class, class they are taken for)."""
    tally = Tally(Dataset("x", LABELS, tuple(Example(str(number), target) for number, (target, _) in enumerate(pairs))))
    for number, (_, predicted) in enumerate(pairs):
        tally.add(Result(str(number), (Prediction(predicted, LABELS[predicted], 0.9),)))
    return tally.evaluation(None)


def test_what_the_picture_shows(tmp_path: Path) -> None:
    draw_confusion_matrix(
        evaluation([(0, 0)] * 41 + [(0, 1)] * 3 + [(1, 4)] * 7 + [(2, 2), (3, 3)]),
        tmp_path / "x.svg",
        "mine $x$ on test",
    )
    drawn = (tmp_path / "x.svg").read_text()
    texts = re.findall(r"<!-- (.*?) -->", drawn)
    numbers = re.findall(r"<!-- (\d+) -->.*?translate\(([\d.]+) ([\d.]+)\)", drawn, re.DOTALL)
    assert [number for number, _, _ in numbers] == ["41", "3", "7", "1", "1"]
    x, y = [float(x) for _, x, _ in numbers], [float(y) for _, _, y in numbers]
    assert y[0] == y[1] < y[2] < y[3] < y[4]
    assert x[0] < x[1] < x[3] < x[4] < x[2]
    assert texts.count("cat") == texts.count("$dog_1$") == texts.count("a label that is much lo…") == 2
    assert texts.count("any other") == 1
    assert {"mine $x$ on test", "true class", "taken for", "Confusion matrix"} <= set(texts)
    assert "53 images, 10 of them wrong." in texts
    assert all(color in drawn for color in (LIGHT.ink, LIGHT.soft))  # the style of all charts


@pytest.mark.parametrize("suffix", ["png", "pdf"])
def test_formats(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    draw_confusion_matrix(evaluation([(0, 0), (1, 0)]), path, "x")
    assert path.read_bytes()[:4] == {"png": b"\x89PNG", "pdf": b"%PDF"}[suffix]
    if suffix == "png":
        with Image.open(path) as image:
            assert min(image.size) >= 600
    assert list(tmp_path.iterdir()) == [path]


def test_fifty_classes_and_no_more(tmp_path: Path) -> None:
    fifty, more = (
        Dataset("val", (), tuple(Example(str(index), index) for index in range(number))) for number in (50, 51)
    )
    check_picture(tmp_path / "x.png", fifty)
    with pytest.raises(UsageError, match="drawn for at most 50 classes, val has 51"):
        check_picture(tmp_path / "x.png", more)


def test_without_matplotlib(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'torchless\[compare\]'"):
        check_picture(tmp_path / "x.png", Dataset("x", (), ()))
