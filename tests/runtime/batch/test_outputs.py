import csv
import io
import json
import sys
from pathlib import Path

import pyarrow.parquet
import pytest

from torchless.batch.outputs import Format, JsonLinesWriter, TableWriter, choose_format, open_writer, rows_in_memory
from torchless.engine.results import Prediction, Result
from torchless.errors import MissingDependencyError, UsageError

RESULTS = [
    Result("a, b.jpg", (Prediction(7, "cock", 0.75), Prediction(8, 'the "hen"', 0.25))),
    Result("c.jpg", error="the file is empty"),
    Result(None, (Prediction(0, "tench", 1.0),)),
]


def write(format: Format, path: Path, results: list[Result] = RESULTS) -> str:
    with open_writer(format, path) as writer:
        for result in results:
            writer.write(result)
    return path.read_text()


def test_json_is_one_array(tmp_path: Path) -> None:
    assert json.loads(write(Format.JSON, tmp_path / "out")) == [
        {
            "image": "a, b.jpg",
            "predictions": [
                {"index": 7, "label": "cock", "probability": 0.75},
                {"index": 8, "label": 'the "hen"', "probability": 0.25},
            ],
            "error": None,
        },
        {"image": "c.jpg", "predictions": [], "error": "the file is empty"},
        {"image": None, "predictions": [{"index": 0, "label": "tench", "probability": 1.0}], "error": None},
    ]
    assert json.loads(write(Format.JSON, tmp_path / "out", [])) == []


def test_json_lines_holds_the_same_rows(tmp_path: Path) -> None:
    lines = write(Format.JSONL, tmp_path / "out").splitlines()
    assert [json.loads(line) for line in lines] == json.loads(write(Format.JSON, tmp_path / "all"))


MULTI = [
    Result(
        "both.jpg",
        (Prediction(0, "ant", 0.75, 0.5), Prediction(2, "dog", 0.5, 0.25)),
        multi_label=True,
        warning="dark",
    ),
    Result("none.jpg", multi_label=True, nearest=Prediction(2, "dog", 0.3199, 0.505)),
    Result("c.jpg", error="the file is empty", multi_label=True),
]


def write_multi(format: Format, path: Path) -> Path:
    with open_writer(format, path, multi_label=True) as writer:
        for result in MULTI:
            writer.write(result)
    return path


def test_rows_of_multi_label_models_say_so(tmp_path: Path) -> None:
    both, none, failed = json.loads(write_multi(Format.JSON, tmp_path / "out").read_text())
    assert both == {
        "image": "both.jpg",
        "predictions": [
            {"index": 0, "label": "ant", "probability": 0.75, "threshold": 0.5},
            {"index": 2, "label": "dog", "probability": 0.5, "threshold": 0.25},
        ],
        "error": None,
        "multi_label": True,
        "warning": "dark",
    }
    assert none["predictions"] == []
    assert none["nearest"] == {"index": 2, "label": "dog", "probability": 0.3199, "threshold": 0.505}
    assert (failed["multi_label"], failed["error"]) == (True, "the file is empty")
    assert [Result.from_json(json.dumps(row)) for row in (both, none, failed)] == MULTI


def test_the_table_of_a_multi_label_model(tmp_path: Path) -> None:
    assert write_multi(Format.TABLE, tmp_path / "out").read_text() == (
        "both.jpg\n"
        "  warning: dark\n"
        "   75.00 %  ███████████████       ant  (at least 50 %)\n"
        "   50.00 %  ██████████            dog  (at least 25 %)\n"
        "none.jpg\n"
        "  no class reaches its threshold; the nearest is dog, 0.319 of 0.505\n"
        "c.jpg\n"
        "  error: the file is empty\n"
    )


def test_csv_of_a_multi_label_model_has_thresholds_and_a_line_for_an_image_without_a_class(tmp_path: Path) -> None:
    assert write_multi(Format.CSV, tmp_path / "out").read_text() == (
        "image,rank,index,label,probability,threshold,error,warning\n"
        "both.jpg,1,0,ant,0.75,0.5,,dark\n"
        "both.jpg,2,2,dog,0.5,0.25,,dark\n"
        "none.jpg,,,,,,,\n"
        "c.jpg,,,,,,the file is empty,\n"
    )


def test_parquet_of_a_multi_label_model_holds_the_same_rows(tmp_path: Path) -> None:
    rows = pyarrow.parquet.read_table(write_multi(Format.PARQUET, tmp_path / "out")).to_pylist()
    assert rows == [{"nearest": None, "warning": None} | result.to_dict() for result in MULTI]


def test_csv_has_a_line_for_each_prediction(tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(write(Format.CSV, tmp_path / "out"))))
    assert [(row["image"], row["rank"], row["label"], row["error"]) for row in rows] == [
        ("a, b.jpg", "1", "cock", ""),
        ("a, b.jpg", "2", 'the "hen"', ""),
        ("c.jpg", "", "", "the file is empty"),
        ("", "1", "tench", ""),
    ]


def test_table(tmp_path: Path) -> None:
    assert write(Format.TABLE, tmp_path / "out") == (
        "a, b.jpg\n"
        "   75.00 %  ███████████████       cock\n"
        '   25.00 %  █████                 the "hen"\n'
        "c.jpg\n"
        "  error: the file is empty\n"
        "image\n"
        "  100.00 %  ████████████████████  tench\n"
    )


@pytest.mark.parametrize(("probability", "bar"), [(0.0, ""), (0.01, "▎"), (0.5125, "██████████▎"), (1.0, "█" * 20)])
def test_bars_are_fine(probability: float, bar: str) -> None:
    stream = io.StringIO()
    stream_utf8 = type("Utf8", (io.StringIO,), {"encoding": "UTF-8"})()
    TableWriter(stream_utf8).write(Result("x", (Prediction(0, "y", probability),)))
    assert stream_utf8.getvalue().split("%  ")[1] == f"{bar:<20}  y\n"
    TableWriter(stream).write(Result("x", (Prediction(0, "y", probability),)))
    assert set(stream.getvalue().split("%  ")[1]) <= {"#", " ", "y", "\n"}


def test_the_format_follows_the_ending() -> None:
    assert choose_format(None, None) is Format.TABLE
    assert choose_format(None, Path("x.CSV")) is Format.CSV
    assert choose_format(None, Path("x.txt")) is Format.TABLE
    assert choose_format(None, Path("/dev/stdout")) is Format.TABLE
    assert choose_format(None, Path("x.ndjson")) is Format.JSONL
    assert choose_format(Format.JSON, Path("x.xyz")) is Format.JSON
    with pytest.raises(UsageError, match=r"x\.xyz does not say in which form to write: end it in \.jsonl.*`format`"):
        choose_format(None, Path("x.xyz"))
    assert choose_format(Format.JSON, Path("x.csv")) is Format.JSON


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), open_writer(Format.CSV, path) as writer:
        writer.write(RESULTS[0])
        raise KeyboardInterrupt
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_output_that_cannot_be_written(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"cannot write .*none/out.csv: No such file"),
        open_writer(Format.CSV, tmp_path / "none" / "out.csv"),
    ):
        pass


def test_a_name_that_is_not_utf8_stays_valid_json(tmp_path: Path) -> None:
    (line,) = write(Format.JSONL, tmp_path / "out", [Result("caf\udce9.jpg", error="x")]).splitlines()
    assert json.loads(line)["image"] == "caf\udce9.jpg"


def test_a_name_may_not_write_on_the_terminal(tmp_path: Path) -> None:
    assert (
        write(Format.TABLE, tmp_path / "out", [Result("a\n\x1b[2Jb.jpg", error="x")]).splitlines()[0]
        == "a\\n\\x1b[2Jb.jpg"
    )


def test_json_on_a_stream_that_is_not_utf8() -> None:
    buffer = io.BytesIO()
    stream = io.TextIOWrapper(buffer, encoding="ascii")
    JsonLinesWriter(stream).write(Result("é.jpg", (Prediction(0, "Kätzchen", 1.0),)))
    assert json.loads(buffer.getvalue())["predictions"][0]["label"] == "Kätzchen"


def test_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", None)
    with pytest.raises(UsageError, match="standard output is closed"), open_writer(Format.JSON, None):
        pass


def test_parquet_holds_the_rows_of_json(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet

    monkeypatch.setattr("torchless.batch.parquet.ROWS_A_GROUP", 2)
    path = tmp_path / "out.parquet"
    with open_writer(Format.PARQUET, path) as writer:
        for result in [*RESULTS, Result("caf\udce9.jpg", error="x")]:
            writer.write(result)
        assert not path.exists()
    file = pyarrow.parquet.ParquetFile(path)
    assert file.num_row_groups == 2
    rows = file.read().to_pylist()
    assert rows[:3] == [{"warning": None} | row for row in json.loads(write(Format.JSON, tmp_path / "all"))]
    assert rows[3] == {"image": "caf\\udce9.jpg", "predictions": [], "error": "x", "warning": None}
    with open_writer(Format.PARQUET, path):
        pass
    assert pyarrow.parquet.read_table(path).num_rows == 0


def test_parquet_needs_a_file_and_pyarrow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        pytest.raises(UsageError, match="Parquet needs a file: name it with `output`"),
        open_writer(Format.PARQUET, None),
    ):
        pass
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with (
        pytest.raises(MissingDependencyError, match=r"pip install 'torchless\[parquet\]'"),
        open_writer(Format.PARQUET, tmp_path / "x.parquet"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_rows_survive_json(tmp_path: Path) -> None:
    for result in RESULTS:
        assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize(
    ("label", "cell"),
    [
        ("=1+2", "'=1+2"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-5.5", "-5.5"),
        ("a\x9b\n", "a\\u009b\\u000a"),
    ],
)
def test_csv_for_spreadsheets_and_terminals(label: str, cell: str) -> None:
    result = Result(label, (Prediction(0, label, 0.5),))
    _, row = csv.reader(io.StringIO(rows_in_memory(Format.CSV, [result]).decode()))
    assert (row[0], row[3]) == (cell, cell)
