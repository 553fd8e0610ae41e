"""Interrupted runs continue where they stopped: the journal alone, and real `infer` processes that are really
interrupted and killed.
"""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from PIL import Image
from tests.surroundings import PATIENCE_S

from torchless.batch.inputs import expand
from torchless.batch.journal import Journal, journal_path, open_journal
from torchless.batch.stamps import stamp_of
from torchless.engine.results import Input, Prediction, Result
from torchless.errors import UsageError

INFER = Path(sys.executable).with_name("infer")
COUNT = 70  # of images, so that a signal comes long before the last
# `infer` on a machine on which a signal is long on its way: later images take time, and none is taken for stuck.
SLOW = """
import itertools, time
from torchless.batch import stuck
from torchless.cli import start
from torchless.engine import classifier

decode_image, numbers, stuck.PATIENCE_S = classifier.decode_image, itertools.count(), 300.0

def slow(*image, **options):
    time.sleep(next(numbers) > 40)
    return decode_image(*image, **options)

classifier.decode_image = slow
start.infer_main()
"""
RUN: dict[str, object] = {"the model": "abc", "top_k": 5}
ROWS = [
    Result("a.jpg", (Prediction(1, "goldfish", 0.1 + 0.2),)),
    Result("caf\udce9.jpg", error="the file is empty"),
    Result("é", ()),
]


def begin(output: Path, rows: list[Result] = ROWS) -> Path:
    with open_journal(output, RUN, resume=False) as journal:
        write(journal, rows)
    return journal.path


def write(journal: Journal, rows: list[Result]) -> None:
    """As a run does whose images do not exist."""
    for row, _ in zip(rows, journal.remaining(Input(row.image, row.image) for row in rows), strict=True):
        journal.write(row)


def test_rows_come_back_as_they_were(tmp_path: Path) -> None:
    assert begin(tmp_path / "out.csv") == tmp_path / "out.csv.partial"
    with open_journal(tmp_path / "out.csv", RUN, resume=True) as journal:
        assert (journal.rows, journal.failed) == (3, 1)
        assert list(journal.results()) == ROWS
        journal.write(ROWS[0])
        assert list(journal.results()) == [*ROWS, ROWS[0]]
        journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_is_done_is_not_done_again_as_often_as_it_was_done(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    with open_journal(tmp_path / "out", RUN, resume=True) as journal:
        inputs = [Input(name, name) for name in ("new.jpg", "a.jpg", "é", "a.jpg", "caf\udce9.jpg", "z")]
        assert [item.name for item in journal.remaining(iter(inputs))] == ["new.jpg", "a.jpg", "z"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.integers(0, 400))
def test_a_file_torn_anywhere_loses_no_whole_row(tmp_path: Path, cut: int) -> None:
    path = begin(tmp_path / "out")
    data = path.read_bytes()
    path.write_bytes(data[:cut])
    whole = max(0, data[:cut].count(b"\n") - 1)
    with open_journal(tmp_path / "out", RUN, resume=True) as journal:
        assert list(journal.results()) == ROWS[:whole]
        assert [item.name for item in journal.remaining(Input(row.image, row.image) for row in ROWS)] == [
            row.image for row in ROWS[whole:]
        ]
        for row in ROWS[whole:]:
            journal.write(row)
    assert path.read_bytes() == data
    path.unlink()


def test_a_run_that_wrote_no_row_leaves_nothing(tmp_path: Path) -> None:
    begin(tmp_path / "out", [])
    assert list(tmp_path.iterdir()) == []


def test_a_journal_is_not_lost_by_mistake(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    with pytest.raises(UsageError, match=r"out.partial holds the rows of an interrupted run: `resume` continues"):
        begin(tmp_path / "out")
    with (
        pytest.raises(
            UsageError, match=r"belongs to a run with a different `top_k`, `labels`; give the same, or delete it"
        ),
        open_journal(tmp_path / "out", RUN | {"top_k": 3, "labels": "x"}, resume=True),
    ):
        pass
    with (
        open_journal(tmp_path / "out", RUN, resume=True),
        pytest.raises(UsageError, match="another run is writing"),
        open_journal(tmp_path / "out", RUN, resume=True),
    ):
        pass


@pytest.mark.parametrize(
    "text",
    [
        "hello\n",
        "hello",
        "{}\n",
        '{"torchless_journal": 2}\n',
        '{"torchless_journal": 2, "run": 3}\n',
        "[1]\n",
        '"x"\n',
        "\xff\n",
        "[" * 100_000 + "\n",
    ],
)
def test_what_is_no_journal_is_left_alone(tmp_path: Path, text: str) -> None:
    path = begin(tmp_path / "out")
    path.write_text(text)
    before = path.read_text()
    with (
        pytest.raises(UsageError, match="is damaged, or was not written by torchless"),
        open_journal(tmp_path / "out", RUN, resume=True),
    ):
        pass
    assert path.read_text() == before


NOT_ROWS = ["", "{}", "[]", "null", "[" * 100_000, '{"image": ["a"], "predictions": [], "error": null, "stamp": ""}']


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(line=st.integers(1, 3), text=st.sampled_from(NOT_ROWS) | st.text() | st.integers(0, 150), crc=st.booleans())
def test_a_damaged_line_is_named(tmp_path: Path, line: int, text: str | int, crc: bool) -> None:
    """Another text, also with the right checksum, and one that differs in one bit."""
    path = begin(tmp_path / "out")
    lines = path.read_bytes().splitlines(keepends=True)
    if isinstance(text, int):
        damaged = bytearray(lines[line])
        damaged[text % (len(damaged) - 1)] ^= 1
        changed = bytes(damaged)
    else:
        other = text.replace("\n", " ").encode("utf-8", "surrogatepass")
        changed = (b'{"crc": "%08x", ' % zlib.crc32(other) + other[1:] if crc else other) + b"\n"
    try:
        path.write_bytes(b"".join([*lines[:line], changed, *lines[line + 1 :]]))
        with (
            pytest.raises(UsageError, match=rf"line {line + 1} of .*out.partial is damaged: delete that line, and"),
            open_journal(tmp_path / "out", RUN, resume=True),
        ):
            pass
        path.write_bytes(b"".join([*lines[:line], *lines[line + 1 :]]))  # what the message says helps
        with open_journal(tmp_path / "out", RUN, resume=True) as journal:
            assert journal.rows == 2
    finally:
        path.unlink(missing_ok=True)


def test_an_image_that_was_replaced_is_done_again_and_one_not_asked_for_goes(tmp_path: Path) -> None:
    images = [tmp_path / name for name in ("kept", "replaced", "touched", "removed", "new")]
    for image in images[:4]:
        image.write_text("first")
    inputs = [Input(str(image), str(image)) for image in images]
    output = tmp_path / "out"
    with open_journal(output, RUN, resume=False) as journal:
        for item in journal.remaining(inputs[:4]):
            journal.write(Result(item.name, error="first"))
    images[1].write_text("another")
    os.utime(images[1], ns=(images[0].stat().st_mtime_ns, images[0].stat().st_mtime_ns))
    os.utime(images[2], ns=(2, 2))
    images[4].write_text("new")
    with open_journal(output, RUN, resume=True) as journal:
        for item in journal.remaining([*inputs[:3], inputs[4]]):
            journal.write(Result(item.name, error="second"))
        assert (journal.rows, journal.failed) == (7, 7)
        journal.settle()
        assert [(Path(row.image).name, row.error) for row in journal.results()] == [
            ("kept", "first"),
            ("replaced", "second"),
            ("touched", "second"),
            ("new", "second"),
        ]
        assert (journal.rows, journal.failed) == (4, 4)
        assert [error for _, error in journal.failures] == ["first", "second", "second", "second"]
        assert journal.notes == (
            "3 rows of an earlier run left out: their images were replaced, or are not asked for now",
        )


def test_rows_stay_if_a_folder_cannot_be_listed_now(tmp_path: Path) -> None:
    begin(tmp_path / "out")
    with open_journal(tmp_path / "out", RUN, resume=True) as journal:
        (item,) = journal.remaining([Input("s3://bucket", None, "cannot read s3://bucket: expired")])
        journal.write(Result(item.name, error=item.error))
        journal.settle()
        assert list(journal.results())[:3] == ROWS
        assert journal.notes == ("3 rows of an earlier run kept, whose images were not listed now",)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_members_of_archives_and_bytes_are_known_by_their_content(tmp_path: Path) -> None:
    def stamps(*contents: bytes) -> list[str]:
        with zipfile.ZipFile(path := tmp_path / "a.zip", "w") as archive:
            for content in contents:
                archive.writestr("a.jpg", content)
        return [stamp_of(item) for item in expand([str(path)])]

    assert stamps(b"1234", b"1235") == [stamp_of(Input("x", b"1234")), stamp_of(Input("x", b"1235"))]
    assert len({*stamps(b"1234", b"1235"), stamp_of(Input("x", "x"))}) == 3


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    begin(tmp_path / "out", [])
    assert list(tmp_path.iterdir()) == []
    path = begin(tmp_path / "out")
    with open_journal(tmp_path / "out", RUN, resume=True) as journal:
        assert list(journal.results()) == ROWS
        journal.remove()
    assert not path.exists()


def test_a_full_disk_leaves_no_empty_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Journal, "_write_line", refuse)
    with pytest.raises(UsageError, match="No space left"):
        begin(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_a_journal_of_another_version(tmp_path: Path) -> None:
    path = begin(tmp_path / "out")
    path.write_text(path.read_text().replace('"torchless_journal": 2', '"torchless_journal": 9'))
    with (
        pytest.raises(UsageError, match="another version of torchless"),
        open_journal(tmp_path / "out", RUN, resume=True),
    ):
        pass


def test_outputs_that_are_no_files(tmp_path: Path) -> None:
    assert journal_path(Path("/dev/null")) is None
    for output, message in (
        (Path("/dev/null"), "a file; /dev/null is not"),
        (tmp_path, "it is a folder"),
        (tmp_path / "no" / "x", "No such file"),
    ):
        with pytest.raises(UsageError, match=message), open_journal(output, RUN, resume=True):
            pass


@pytest.fixture(scope="module")
def many(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that takes a few seconds: large JPEGs, and one that is none."""
    folder = tmp_path_factory.mktemp("many")
    with Image.open(photos / "coffee.png") as image:
        for number in range(6):
            image.convert("RGB").resize((2400 + number, 1600)).save(folder / f"{number:03}.jpg")
    for number in range(6, COUNT):
        shutil.copy(folder / f"{number % 6:03}.jpg", folder / f"{number:03}.jpg")
    (folder / "007.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture(scope="module")
def uninterrupted(tiny: Path, many: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], bytes]:
    """What a run that nothing disturbed writes, as the bytes of a file of that ending."""
    folder, written = tmp_path_factory.mktemp("uninterrupted"), {}

    def write(ending: str) -> bytes:
        if ending not in written:
            assert infer(tiny, many, "-o", folder / f"out.{ending}").returncode == 1
            written[ending] = (folder / f"out.{ending}").read_bytes()
            assert len(list(folder.iterdir())) == len(written)
        return written[ending]

    return write


def infer(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([INFER, *map(str, arguments)], capture_output=True, text=True, check=False)


def interrupt(how: signal.Signals, partial: Path, *arguments: object) -> tuple[int, str]:
    """Starts `infer`, waits until some rows are done, sends the signal; gives its exit code and stderr."""
    command = [sys.executable, "-c", SLOW, *map(str, arguments), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE_S
    while not (partial.exists() and partial.read_bytes().count(b"\n") > 12):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(how)
    _, err = process.communicate(timeout=PATIENCE_S)
    return process.returncode, err


@pytest.mark.parametrize(
    ("how", "ending"),
    [(signal.SIGINT, "jsonl"), (signal.SIGKILL, "jsonl"), (signal.SIGKILL, "csv"), (signal.SIGINT, "parquet")],
)
def test_an_interrupted_run_goes_on(
    tiny: Path, many: Path, uninterrupted: Callable[[str], bytes], tmp_path: Path, how: signal.Signals, ending: str
) -> None:
    wanted = uninterrupted(ending)
    folder, output = tmp_path / "many", tmp_path / f"out.{ending}"
    partial = output.with_name(f"out.{ending}.partial")
    shutil.copytree(many, folder)
    code, err = interrupt(how, partial, tiny, folder, "-o", output)
    assert not output.exists()
    assert "Traceback" not in err
    rows = partial.read_bytes().splitlines(keepends=True)[1:]
    done = [json.loads(row)["image"] for row in rows if row.endswith(b"\n")]
    assert 12 <= len(done) < COUNT
    if how is signal.SIGINT:
        assert code == 130
        assert err.splitlines()[-1] == (
            f"interrupted: {len(done)} images are done, and kept in {partial}: the same command with --resume "
            f"continues from there"
        )

    again = infer(tiny, folder, "-o", output)
    assert (again.returncode, output.exists()) == (2, False)
    assert "--resume continues from there" in again.stderr
    assert "a different --top-k" in infer(tiny, folder, "-o", output, "--resume", "-k", 3).stderr

    for path in map(Path, done):  # doing them again fails
        before = path.stat()
        path.write_bytes(bytes(before.st_size))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    resumed = infer(tiny, folder, "-o", output, "--resume")
    assert resumed.returncode == 1  # the one that is no image
    assert (
        output.read_bytes().replace(str(folder).encode(), str(many).encode()) == wanted
        if ending != "parquet"
        else output.exists()
    )
    if ending == "parquet":
        import pyarrow.parquet

        got, first = (
            pyarrow.parquet.read_table(file).to_pylist() for file in (output, _file(tmp_path / "wanted", wanted))
        )
        assert [row | {"image": Path(row["image"]).name} for row in got] == [
            row | {"image": Path(row["image"]).name} for row in first
        ]
    assert not partial.exists()


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_ctrl_c_leaves_well_formed_json_on_stdout(tiny: Path, many: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, tiny, many, "-f", "json", "--workers", "1"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    head = [process.stdout.readline() for _ in range(3)]
    process.send_signal(signal.SIGINT)
    rows = json.loads("".join(head) + process.stdout.read())
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert err.splitlines()[-1] == f"interrupted: {len(rows)} images are done"
    assert 3 <= len(rows) < COUNT
