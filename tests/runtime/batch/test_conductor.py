import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.surroundings import PATIENCE_S

from torchless.batch.outcome import Outcome
from torchless.batch.outputs import Format, JsonLinesWriter
from torchless.batch.run import write_rows, write_rows_through_journal
from torchless.engine.results import Input, Result
from torchless.progress import no_bar

INFER = Path(sys.executable).with_name("infer")
INPUTS = [Input(f"{number}.jpg", None) for number in range(9)]


def classify(inputs: Iterator[Input]) -> Iterator[Result]:
    for item in inputs:
        yield Result(item.name, error="x" if item.name == "1.jpg" else None)


def interrupt_in_row_three(monkeypatch: pytest.MonkeyPatch) -> None:
    real = JsonLinesWriter.write

    def write(self: JsonLinesWriter, result: Result) -> None:
        if result.image == "3.jpg":
            signal.raise_signal(signal.SIGINT)
        real(self, result)

    monkeypatch.setattr(JsonLinesWriter, "write", write)


def test_ctrl_c_tears_no_row(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    interrupt_in_row_three(monkeypatch)
    outcome = write_rows(classify, iter(INPUTS), format=Format.JSONL, output=None, bar=no_bar)
    assert (outcome.rows, outcome.failed, outcome.interrupted) == (4, 1, True)
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_incomplete_file_does_not_appear(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    interrupt_in_row_three(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        write_rows(classify, iter(INPUTS), format=Format.JSONL, output=tmp_path / "out", bar=no_bar)
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_between_rows_keeps_them(tmp_path: Path) -> None:
    def stop_after_four(inputs: Iterator[Input]) -> Iterator[Result]:
        for result, _ in zip(classify(inputs), range(4), strict=False):
            yield result
        signal.raise_signal(signal.SIGINT)

    output, done = tmp_path / "out", []
    outcome = write_rows_through_journal(
        stop_after_four, iter(INPUTS), format=Format.JSONL, output=output, bar=no_bar, run={}, resume=False
    )
    assert (outcome.rows, outcome.interrupted, outcome.kept_in) == (4, True, (tmp_path / "out.partial",))

    def note(inputs: Iterator[Input]) -> Iterator[Result]:
        for result in classify(inputs):
            done.append(result.image)
            yield result

    outcome = write_rows_through_journal(
        note, iter(INPUTS), format=Format.JSONL, output=output, bar=no_bar, run={}, resume=True
    )
    assert (outcome.rows, outcome.failed, outcome.interrupted, outcome.kept_in) == (9, 1, False, ())
    assert done == [item.name for item in INPUTS[4:]]
    assert [Result.from_json(line).image for line in output.read_text().splitlines()] == [item.name for item in INPUTS]
    assert list(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize(("to_file", "bar"), [(True, True), (False, False)])
def test_a_bar_on_terminals_alone(tiny: Path, photos: Path, tmp_path: Path, to_file: bool, bar: bool) -> None:
    """A real terminal; with results on it there is no bar."""
    here, there = pty.openpty()
    output = ["-o", tmp_path / "out.csv"] if to_file else []
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "80"}
    images = [photos / "coffee.png", photos / "rocket.jpg"] * 6
    process = subprocess.Popen(
        [INFER, tiny, *images, *output, "-d", "cpu"], stdout=there, stderr=there, env=environment
    )
    os.close(there)
    shown = b""
    while chunk := _read(here):
        shown += chunk
    assert process.wait(PATIENCE_S) == 0
    assert (b"/12" in shown) == bar
    assert (b"\x1b" in shown) == bar


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # closed at the other end
        return b""


@pytest.mark.parametrize("reader", ["| cat", "| head -c 100000", "> /dev/stderr", "> {rows}"])
def test_rows_in_a_pipe_stay_whole_on_the_terminal(tiny: Path, photos: Path, tmp_path: Path, reader: str) -> None:
    """What a pipe leads to may be the same terminal, so that a bar would tear its lines; a file is not."""
    images = " ".join([str(photos / "coffee.png"), str(photos / "rocket.jpg")] * 6)
    here, there = pty.openpty()
    command = f"{INFER} {tiny} {images} -f jsonl -d cpu {reader.format(rows=tmp_path / 'rows')}"
    process = subprocess.Popen(
        ["sh", "-c", command], stdout=there, stderr=there, env=os.environ | {"TERM": "xterm", "COLUMNS": "200"}
    )
    os.close(there)
    shown = b""
    while chunk := _read(here):
        shown += chunk
    assert process.wait(PATIENCE_S) == 0
    to_file = reader == "> {rows}"
    assert (b"\x1b" in shown) == to_file
    summary = re.search(rb"12 done, .*\r\n", shown)
    assert summary
    rows = (tmp_path / "rows").read_bytes() if to_file else shown.replace(summary[0], b"")  # a reader may come later
    assert [json.loads(row)["error"] for row in rows.splitlines()] == [None] * 12


def test_no_bar_where_nobody_looks(tiny: Path, photos: Path, tmp_path: Path) -> None:
    images = [photos / "coffee.png", photos / "rocket.jpg"]
    done = subprocess.run(
        [INFER, tiny, *images, "-o", tmp_path / "x.csv", "-d", "cpu"], capture_output=True, check=True
    )
    assert done.stdout == b""
    assert re.fullmatch(rf"2 done → {tmp_path}/x.csv, \d+\.\d s, [\d.]+ images/s\n", done.stderr.decode())


def test_failed_images_are_named_on_stderr(tiny: Path, photos: Path, tmp_path: Path) -> None:
    """Also where the rows go to a file."""
    missing = [f"no-{number}.jpg" for number in range(7)]
    for more in ([], ["-o", tmp_path / "x.jsonl"]):
        done = subprocess.run(
            [INFER, tiny, *missing, photos / "coffee.png", "-f", "jsonl", "-d", "cpu", *more],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )
        *failed, rest, end = done.stderr.splitlines()
        assert failed == [f"failed: cannot read {name}: No such file or directory" for name in missing[:5]]
        assert rest == "failed: 2 more; their rows have the reasons"
        assert end.startswith("1 done, 7 failed")
        assert done.returncode == 1


@pytest.mark.parametrize("on_terminal", [True, False])
def test_one_image_has_no_summary_and_its_error_is_seen_once(tiny: Path, tmp_path: Path, on_terminal: bool) -> None:
    here, there = pty.openpty()
    done = subprocess.run(
        [INFER, tiny, "no.jpg", "-d", "cpu"],
        stdout=there if on_terminal else subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    os.close(there)
    os.close(here)
    assert done.stderr == ("" if on_terminal else "failed: cannot read no.jpg: No such file or directory\n")


def test_what_the_rows_on_a_terminal_say_is_not_said_again(
    command_line, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16)).save(tmp_path / "dark.png")
    command = "infer", tiny, tmp_path / "dark.png", "no.jpg", "-d", "cpu"
    _, rows, said = command_line(*command)
    assert (rows.count("warning: "), rows.count("error: ")) == (1, 1)
    assert (said.count("warning: "), said.count("failed: ")) == (1, 1)
    monkeypatch.setattr("torchless.batch.run.is_terminal", lambda _: True)
    _, again, said = command_line(*command)
    assert again == rows
    assert re.fullmatch(r"1 done, 1 failed, .*\n", said)


LABELS = Path("labels.csv")


@pytest.mark.parametrize(
    ("outcome", "text"),
    [
        (Outcome(400, 2, new=400, seconds=12.4, output=LABELS), "398 done, 2 failed → labels.csv, 12.4 s, 32 images/s"),
        (Outcome(12, 0, new=4, seconds=200), "12 done (8 of all by an earlier run), 3 min 20 s, 0.02 images/s"),
        (Outcome(9, 9, new=9, seconds=7500.0), "0 done, 9 failed, 2 h 5 min, 0.0012 images/s"),
        (Outcome(1, 0, new=1, seconds=0.04, output=Path("a\n.csv")), "1 done → a\\n.csv, 0.0 s"),
        (Outcome(5_000, 0, new=0, seconds=0.0), "5,000 done (5,000 of all by an earlier run), 0.0 s"),
    ],
)
def test_summaries(outcome: Outcome, text: str) -> None:
    assert outcome.summary("images") == text
