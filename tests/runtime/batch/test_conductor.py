import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.surroundings import PATIENCE_S

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


def test_no_bar_where_nobody_looks(tiny: Path, photos: Path, tmp_path: Path) -> None:
    images = [photos / "coffee.png", photos / "rocket.jpg"]
    done = subprocess.run(
        [INFER, tiny, *images, "-o", tmp_path / "x.csv", "-d", "cpu"], capture_output=True, check=True
    )
    assert (done.stdout, done.stderr) == (b"", b"")
