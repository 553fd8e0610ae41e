"""What surrounds a program's work: how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from torchless.cli.program import as_flags, run_program
from torchless.errors import UsageError
from torchless.process import tell


def failing(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(("error", "code", "said"), [(UsageError("no"), 2, "error: no\n"), (KeyboardInterrupt(), 130, "interrupted\n")])
def test_errors_are_a_line_and_an_exit_code(error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        run_program(lambda: failing(error))
    assert ended.value.code == code
    assert capsys.readouterr().err == said


def test_parameters_become_flags() -> None:
    assert (
        as_flags("`batch_size` and `max_pixels`, in `a file` of batch_size") == "--batch-size and --max-megapixels, in `a file` of batch_size"
    )


@pytest.mark.parametrize(("target", "said"), [("closed", ""), ("full", "error: cannot write the results: No space left on device\n")])
def test_results_that_cannot_be_written_are_no_traceback(tiny: Path, photos: Path, target: str, said: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    out = writer if target == "closed" else os.open("/dev/full", os.O_WRONLY)
    command = [
        sys.executable,
        "-c",
        "from torchless.cli.start import infer_main; infer_main()",
        tiny,
        photos / "coffee.png",
        photos / "rocket.jpg",
    ]
    ended = subprocess.run(command, stdout=out, stderr=subprocess.PIPE, text=True)
    os.close(out)
    assert ended.returncode == 1
    assert ended.stderr.split("\n", 1)[1] == said  # after the line on the device


def test_nothing_is_told_where_stderr_is_closed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    tell("lost")
    assert capsys.readouterr().out == ""
