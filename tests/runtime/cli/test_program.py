"""What surrounds a program's work: how it ends."""

import ast
import errno
import gc
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from unittest.mock import Mock, call

import pytest
import typer

from torchless.cli import main
from torchless.cli.help import new_app
from torchless.cli.program import as_flags, flag_of, run_program
from torchless.errors import UsageError
from torchless.heaps import no_search_for_garbage
from torchless.process import tell

RUNTIME = Path(main.__file__).parents[1]


def failing(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("error", "code", "said"), [(UsageError("no"), 2, "error: no\n"), (KeyboardInterrupt(), 130, "interrupted\n")]
)
def test_errors_are_a_line_and_an_exit_code(
    error: BaseException, code: int, said: str, capsys: pytest.CaptureFixture
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_program(lambda: failing(error))
    assert ended.value.code == code
    assert capsys.readouterr().err == said


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (MemoryError(), 1, "error: there is not enough memory (MemoryError)"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), 1, "error: there is not enough memory ([Errno 12]"),
        (RuntimeError("torch: can't allocate memory"), 1, "error: there is not enough memory (torch"),
        (ImportError("lib.so: failed to map"), 2, "error: a package cannot be loaded: lib.so: failed"),
    ],
)
def test_what_the_system_refuses_is_no_traceback(
    error: Exception, code: int, said: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "_exit", sys.exit)
    with pytest.raises(SystemExit) as ended:
        run_program(lambda: failing(error))
    assert ended.value.code == code
    assert capsys.readouterr().err.startswith(said)


def test_a_defect_shows_where_it_is() -> None:
    with pytest.raises(RuntimeError, match="ours"):
        run_program(lambda: failing(RuntimeError("ours")))


def test_parameters_become_flags() -> None:
    assert (
        as_flags("`batch_size` and `max_pixels`, in `a file` of batch_size")
        == "--batch-size and --max-megapixels, in `a file` of batch_size"
    )


def test_every_parameter_that_a_message_names_is_a_flag() -> None:
    known = {flag for verb in main.VERBS for flag in flags_of(verb)} | {"MODEL"}
    named = {
        flag_of(name)
        for path in RUNTIME.rglob("*.py")
        if path.parent.name != "cli"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Raise)
        for part in ast.walk(node)
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
        for name in re.findall(r"`([a-z]\w*)`", part.value)
    }
    assert {"--resume", "--threads", "--max-body-mb"} <= named  # it finds them
    assert named <= known


def flags_of(verb: ModuleType) -> set[str]:
    app = new_app()
    verb.register(app)
    command = typer.main.get_command(app)
    commands = getattr(command, "commands", {"": command}).values()
    return {flag for one in commands for parameter in one.params for flag in parameter.opts}


@pytest.mark.parametrize(
    ("target", "said"), [("closed", ""), ("full", "error: cannot write the results: No space left on device\n")]
)
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


def test_lines_of_several_threads_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is one write, which nothing comes between."""
    stderr = Mock()
    monkeypatch.setattr(sys, "stderr", stderr)
    tell("one")
    tell("two")
    assert stderr.write.mock_calls == [call("one\n"), call("two\n")]


def test_after_imports_python_looks_for_garbage_again() -> None:
    with pytest.raises(ImportError), no_search_for_garbage():
        assert not gc.isenabled()
        raise ImportError("no such package")
    assert gc.isenabled()
