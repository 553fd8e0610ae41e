"""The file of the user's own answers: what is read of it, and what is refused."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from torchless.errors import UsageError
from torchless.expected import answers
from torchless.expected.answers import read_expected

ROW = {"image": "a.png", "logits": [1.0, 2.5]}


def written(folder: Path, *rows: object) -> Path:
    path = folder / "answers.jsonl"
    (folder / "a.png").write_bytes(b"beside")
    path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
    return path


def test_what_a_row_says(tmp_path: Path) -> None:
    full = ROW | {"probabilities": [0.2, 0.8], "label": "bee", "anything": 1}
    found = read_expected(written(tmp_path, full, "", full | {"logits": [3, 4]}))
    assert found.logits.tolist() == [[1.0, 2.5], [3.0, 4.0]]
    assert found.probabilities.tolist() == [[0.2, 0.8]] * 2
    assert found.labels == ["bee", "bee"]


def test_what_may_be_left_out(tmp_path: Path) -> None:
    found = read_expected(written(tmp_path, ROW))
    assert (found.probabilities, found.labels) == (None, None)


def test_images_lie_beside_the_file_or_in_it(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"beside").hexdigest()
    inside = ROW | {"data": base64.b64encode(b"inside").decode()}
    found = read_expected(written(tmp_path, ROW, ROW | {"sha256": digest}, inside))
    assert [found.image(number) for number in range(3)] == [b"beside", b"beside", b"inside"]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ROW | {"sha256": "00"}, "has changed since: its SHA-256 is not 00"),
        (ROW | {"data": "###"}, "data is not base64"),
    ],
)
def test_an_image_that_is_not_the_recorded_one(tmp_path: Path, row: dict, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_expected(written(tmp_path, row)).image(0)


@pytest.mark.parametrize(
    ("rows", "reason"),
    [
        ([], "holds no answers"),
        (["[1, 2"], "line 1: the line is not valid JSON"),
        (["[" * 100_000], "line 1: the line is not valid JSON"),
        ([ROW, "[1]"], "line 2: row: expected an object"),
        ([ROW | {"image": "b.png"}], "line 1: there is no image file .*b.png"),
        ([ROW | {"image": "."}], "line 1: there is no image file"),
        ([ROW, {"image": "a.png"}], "line 2: row.logits is missing"),
        (["", {"logits": [1]}], "line 2: row.image is missing"),
        ([ROW | {"logits": [1, "2"]}], r"line 1: row.logits\[1\]: expected a finite number"),
        (['{"image": "a.png", "logits": [NaN]}'], r"line 1: row.logits\[0\]: expected a finite number"),
        ([ROW | {"logits": []}], r"row 1 \(a.png\) has an empty list of logits"),
        ([ROW, ROW | {"logits": [1]}], r"row 2 \(a.png\) has 1 logits, the first has 2"),
        ([ROW | {"probabilities": [1, 0]}, ROW], r"row 2 \(a.png\) has no probabilities, the first has 2"),
        ([ROW | {"label": "bee"}, ROW], "some rows have a label and some have none"),
    ],
)
def test_what_is_refused(tmp_path: Path, rows: list, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        read_expected(written(tmp_path, *rows))


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read .*nowhere.jsonl: No such file"):
        read_expected(tmp_path / "nowhere.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b"\n\xff\n")
    with pytest.raises(UsageError, match="line 2 is not UTF-8 text"):
        read_expected(tmp_path / "latin.jsonl")


def test_no_file_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path, ROW, ROW, ROW)
    monkeypatch.setattr(answers, "MAX_ROWS", 2)
    with pytest.raises(UsageError, match="has 3 rows, the limit is 2"):
        read_expected(path)
    monkeypatch.setattr(answers, "MAX_FILE_BYTES", 100)
    with pytest.raises(UsageError, match="has more than"):
        read_expected(path)
