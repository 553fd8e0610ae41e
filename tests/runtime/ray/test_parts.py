"""The output folder of a run on a cluster, without a cluster."""

import json
from pathlib import Path

import pytest

from torchless.batch.outputs import Format, open_writer, rows_in_memory
from torchless.engine.results import Input, Prediction, Result
from torchless.errors import UsageError
from torchless.ray.parts import Part, open_parts

RUN: dict[str, object] = {"the model": "abc", "top_k": 5}
ROWS = [
    Result("a.jpg", (Prediction(1, "goldfish", 0.5),)),
    Result("caf\udce9.jpg", error="the file is empty"),
    Result("a.jpg"),
]


def begin(folder: Path, format: Format = Format.JSONL) -> None:
    with open_parts(folder, format, RUN, resume=False) as parts:
        with open_writer(format, folder.with_name("rows")) as writer:
            for row in ROWS:
                writer.write(row)
        rows = tuple((row.image, row.error) for row in ROWS)
        assert len(list(parts.remaining(Input(row.image, row.image) for row in ROWS))) == 3
        parts.write(Part("00000007-1", rows, folder.with_name("rows").read_bytes()))


@pytest.mark.parametrize("format", [Format.JSONL, Format.PARQUET])
def test_what_is_done_is_not_done_again_as_often_as_it_was_done(tmp_path: Path, format: Format) -> None:
    begin(tmp_path / "out", format)
    (tmp_path / "out" / ".0123.part.part-00000008.jsonl").write_text("torn")
    with open_parts(tmp_path / "out", format, RUN, resume=True) as parts:
        assert (parts.rows, parts.failed, parts.next_number) == (3, 1, 8)
        inputs = [
            Input(name, name) for name in ("new.jpg", "a.jpg", "a.jpg", "caf\udce9.jpg", "a.jpg", "caf\udce9.jpg")
        ]
        assert [item.name for item in parts.remaining(inputs)] == ["new.jpg", "a.jpg", "caf\udce9.jpg"]
        parts.finish()
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "_SUCCESS",
        "_run.json",
        "_stamps",
        f"part-00000007-1.{format}",
    ]


@pytest.mark.parametrize("format", [Format.JSONL, Format.PARQUET])
def test_rows_of_images_that_were_replaced_or_are_not_asked_for_go(tmp_path: Path, format: Format) -> None:
    out = tmp_path / "out"
    begin(out, format)
    (tmp_path / "a.jpg").touch()
    for wanted in (["a.jpg"], []):  # one of two a.jpg, then none
        with open_parts(out, format, RUN, resume=True) as parts:
            inputs = [Input(name, tmp_path / "no" / name) for name in wanted] + [Input("new", str(tmp_path / "a.jpg"))]
            for item in parts.remaining(inputs):
                data = rows_in_memory(format, [Result(item.name)])
                parts.write(Part(f"{parts.next_number:08}", ((item.name, None),), data))
            parts.settle()
            assert (parts.rows, parts.failed) == (len(inputs), 0)
        with open_parts(out, format, RUN, resume=True) as parts:
            assert (parts.rows, list(parts.remaining(inputs))) == (len(inputs), [])
            assert not parts.notes


def test_what_is_done_is_not_lost_by_mistake(tmp_path: Path) -> None:
    out = tmp_path / "out"
    begin(out)
    with pytest.raises(UsageError, match="holds the rows of an earlier run: `resume` continues from there"):
        begin(out)
    with (
        pytest.raises(UsageError, match="a different `top_k`; give the same"),
        open_parts(out, Format.JSONL, RUN | {"top_k": 3}, resume=True),
    ):
        pass
    with (
        open_parts(out, Format.JSONL, RUN, resume=True),
        pytest.raises(UsageError, match="another run is writing"),
        open_parts(out, Format.JSONL, RUN, resume=True),
    ):
        pass
    assert len(list(out.glob("part-*"))) == 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("part-00000007-1.jsonl", "{}\n"), ("part-x.jsonl", ""), ("_run.json", "[1]"), ("_run.json", "{")],
)
def test_what_is_damaged_is_named(tmp_path: Path, name: str, content: str) -> None:
    begin(tmp_path / "out")
    (tmp_path / "out" / name).write_text(content)
    with (
        pytest.raises(UsageError, match=f"{name} is damaged, or was not written by torchless"),
        open_parts(tmp_path / "out", Format.JSONL, RUN, resume=True),
    ):
        pass


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    begin(tmp_path / "out", Format.PARQUET)
    path = tmp_path / "out" / "part-00000007-1.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with (
        pytest.raises(UsageError, match="parquet is damaged"),
        open_parts(tmp_path / "out", Format.PARQUET, RUN, resume=True),
    ):
        pass


def test_other_folders_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("…")
    for resume in (False, True):
        with (
            pytest.raises(UsageError, match=r"is not empty: it holds 'thesis.tex'"),
            open_parts(tmp_path, Format.JSONL, RUN, resume=resume),
        ):
            pass
    with (
        pytest.raises(UsageError, match="cannot write"),
        open_parts(tmp_path / "thesis.tex", Format.JSONL, RUN, resume=False),
    ):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_run_that_wrote_no_row_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), open_parts(tmp_path / "a" / "out", Format.JSONL, RUN, resume=False):
        1 / 0  # noqa: B018
    assert list((tmp_path / "a").iterdir()) == []
    with open_parts(tmp_path / "out", Format.JSONL, RUN, resume=True) as parts:
        parts.finish()
    assert json.loads((tmp_path / "out" / "_run.json").read_text()) == RUN
