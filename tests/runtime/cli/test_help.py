"""What `--help` shows in a terminal."""

import re
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from inspect import cleandoc
from itertools import pairwise
from pathlib import Path
from types import ModuleType

import pytest
import typer

from torchless.cli import bundled
from torchless.cli.help import refilled
from torchless.cli.main import program

VERBS = typer.main.get_command(program()).commands
GROUPS = ["Run it", "Export and prove", "Choose", "Serve and ship", "Look after"]


@pytest.fixture(params=[80, 120])
def shown(
    request: pytest.FixtureRequest, command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., list[str]]:
    """A function that gives the lines of a verb's help, in a terminal of 80 or 120 columns."""
    monkeypatch.setenv("COLUMNS", str(request.param))

    def lines(*verb: str) -> list[str]:
        code, out, err = command_line("torchless", *verb, "--help")
        assert (code, err) == (0, "")
        assert all(len(line) <= request.param for line in out.splitlines())
        return out.splitlines()

    return lines


@pytest.mark.parametrize("verb", [(), *((name,) for name in VERBS)])
def test_help_fills_any_terminal_and_cuts_no_word(shown, verb: tuple[str, ...]) -> None:
    lines = shown(*verb)
    out, width = "\n".join(lines), len(lines[0])
    assert not re.search(r"<\w|default: \(", out)  # <bool>, <list[str]>, (exact)
    for line, following in within_paragraphs(lines):
        assert len(f" {line.strip()} {following.split()[0]} ") > width, f"ends early: {line}"
    if verb:
        said = " ".join(line.strip("│ ") for line in lines).split()
        wanted = [part.help or "" for part in [VERBS[verb[0]], *VERBS[verb[0]].params]]
        assert not {word for text in wanted for word in text.split()} - set(said)


def within_paragraphs(lines: list[str]) -> Iterator[tuple[str, str]]:
    """Pairs of lines of the text above the tables, without its examples."""
    for line, following in pairwise(lines):
        if following.startswith("╭"):
            return
        if line.strip() and following.strip() and not following.startswith("  "):
            yield line, following


@pytest.mark.parametrize("verb", VERBS)
def test_examples_have_a_line_each(verb: str, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    examples = re.findall(r"^  \S.*$", cleandoc(VERBS[verb].callback.__doc__), re.MULTILINE)
    typer.echo(VERBS[verb].get_help(VERBS[verb].context_class(VERBS[verb])))
    assert {line.strip() for line in examples} <= {line.strip() for line in capsys.readouterr().out.splitlines()}
    assert examples or verb in {"inspect", "doctor", "sign", "verify-signature"}


def test_every_verb_is_in_a_group(shown) -> None:
    lines = shown()
    headings = [line.strip("╭╮─ ") for line in lines if line.startswith("╭")]
    assert headings == ["Options", *GROUPS]
    assert {line.split()[1] for line in lines if line.startswith("│ ")} >= set(VERBS)


def test_values_have_short_names(shown) -> None:
    lines = "\n".join(shown("infer"))
    assert "infer [OPTIONS] MODEL IMAGE..." in lines
    assert [
        [word for word in line.split() if word not in "│-k-f-o"][:2]
        for line in lines.splitlines()
        if line.startswith(("│ --top-k ", "│ --format ", "│ --output ", "│ --decode ", "│ --mean "))
    ] == [
        ["--top-k", "N"],
        ["--format", "FORMAT"],
        ["--output", "FILE"],
        ["--decode", "exact|fast"],
        ["--mean", "TEXT"],
    ]


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--format", "xml", "'xml' is not one of 'table', "),
        ("--top-k", "x", "'x' is no whole number|'x' is not a valid int"),
        ("--timeout", "x", "'x' is no number|'x' is not a valid float"),
        ("--top-k", "0", "must be 1 or more, got 0|0 is not in the range x>=1"),
    ],
)
def test_a_wrong_value_is_told_in_words_for_people(command_line, option: str, value: str, said: str) -> None:
    """Those of the newest typer or, behind the |, of the oldest."""
    code, _, err = command_line("infer", "m.onnx", "a.jpg", option, value)
    text = " ".join(line.strip("│ ") for line in err.splitlines())
    assert code == 2
    assert re.search(f"'{option}'( / '-.')?: ({said})", text)


@pytest.mark.parametrize("program", [["infer"], ["torchless"], ["torchless", "infer"]])
def test_the_version(command_line, program: list[str]) -> None:
    assert command_line(*program, "--version") == (0, f"torchless {version('torchless')}\n", "")


def test_paragraphs_are_one_line_and_indented_lines_stay() -> None:
    assert refilled("a\n    b\n\n    c\n      d e\n      f\n\n    g\n    h\n    ") == "a b\n\nc\n  d e\n  f\n\ng h"


def test_a_bundle_speaks_of_no_model(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    inside = ModuleType("torchless_model")
    inside.__file__, inside.NAME = str(tiny.with_name("__init__.py")), tiny.name  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchless_model", inside)
    monkeypatch.setattr(sys, "argv", ["/there/tiny.pex"])
    with pytest.raises(SystemExit):
        bundled.main()
    told = capsys.readouterr().out
    assert "Usage: tiny.pex [OPTIONS] IMAGE..." in told
    assert "./tiny.pex cat.jpg" in told
    assert "MODEL" not in told
