"""Every command that a page, a help text or a message suggests is one that torchless takes; what is cheap is run."""

import re
import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from tests.commands import Suggested, in_lines, in_messages, on_pages
from tests.conftest import REPO

from torchless.cli.main import program

VERBS = typer.main.get_command(program()).commands
EXAMPLES = {verb: "\n".join(re.findall(r"^  .*$", VERBS[verb].help or "", re.MULTILINE)) for verb in VERBS}
PAGES = list(on_pages())
HELP = [each for verb, text in EXAMPLES.items() for each in in_lines(f"torchless {verb} --help", text)]
COMMANDS = [each for each in [*PAGES, *HELP] if each.words[0] in {"torchless", "infer"} and len(each.words) > 1]
# Words that follow the name torchless in sentences, or in what a command printed.
PROSE = {
    "and", "accepts", "chose", "depends", "does", "exported", "import", "itself", "needs", "never", "prepares",
    "raises", "reads", "runs", "says", "uses", "writes", "0.1.0,",
}  # fmt: skip
CHEAP = {"infer", "inspect", "verify", "evaluate", "repository", "keygen", "sign", "verify-signature"}
# What needs a network, a cluster, a device, PyTorch, or a file of another kind than those that the sandbox has.
NOT_HERE = (
    "s3://",
    "hf:",
    "models.example.com",
    "--engine",
    "--images",
    "--report",
    "--rebuild",
    "openvino",
    "--resize",
    "tags.onnx",
    "12/test.csv",
    "…",
)


def parts(command: Suggested) -> tuple[str, list[str]]:
    """The verb and what follows it, without what stands for more: [--labels FILE], …"""
    verb, *rest = ("infer", *command.words[1:]) if command.words[0] == "infer" else command.words[1:]
    return verb, [word for word in rest if not re.search(r"[\[\]…]", word)]


def flags_of(verb: str) -> set[str]:
    """All of them; none for a word that is no verb."""
    parameters = VERBS[verb].params if verb in VERBS else []
    return {flag for each in parameters for flag in (*each.opts, *each.secondary_opts)} | {"--help"}


def test_every_verb_is_found() -> None:
    assert {parts(each)[0] for each in COMMANDS} >= set(VERBS)
    assert len(COMMANDS) > 100


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_pages_and_help_suggest_what_is_understood(command: Suggested) -> None:
    verb, rest = parts(command)
    assert verb in VERBS or verb in PROSE
    if verb in VERBS:
        assert {word for word in rest if re.fullmatch(r"--?[a-z][a-z-]*", word)} <= flags_of(verb)
        if command.whole and rest[-1:] == list(command.words[-1:]) and "…" not in command.words:
            VERBS[verb].make_context(verb, list(rest)).close()


def test_messages_suggest_verbs_and_options_that_exist() -> None:
    found = list(in_messages())
    assert len(found) > 60
    for each in found:
        verb, options = parts(each)
        assert verb in VERBS or verb in PROSE, str(each)
        assert verb not in VERBS or set(options) <= flags_of(verb), str(each)


def test_targets_of_make_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    named = {word for each in PAGES if each.words[0] == "make" for word in each.words[1:] if "=" not in word}
    assert len(named) > 8
    assert named <= targets


def test_extras_exist_and_all_is_all_of_them() -> None:
    extras = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    named = {name for each in PAGES if each.words[0] == "pip" for name in extras_in(" ".join(each.words))}
    assert {"cpu", "all", "serve", "ray"} <= named <= set(extras)
    needs = re.findall(r"^\| `.*\| ([^|]*) \|$", (REPO / "README.md").read_text(), re.MULTILINE)
    needed = set(re.findall(r"`([a-z0-9]+)`", " ".join(needs)))
    assert needed - extras_in(extras["all"][0]) == {"export", "ray", "remote"}  # s3 brings remote


def extras_in(text: str) -> set[str]:
    return {name for names in re.findall(r"(?:torchless|['.])\[([a-z0-9,]+)\]", text) for name in names.split(",")}


def runnable() -> list[Suggested]:
    """One of each, whatever page it is on."""
    found = {each.words: each for each in COMMANDS if each.whole and parts(each)[0] in CHEAP}
    return [each for words, each in found.items() if not any(no in word for no in NOT_HERE for word in words)]


@pytest.fixture
def sandbox(tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with all files that the commands name: each model is the tiny one."""
    monkeypatch.chdir(tmp_path)
    for name in {word for each in runnable() for word in each.words}:
        source = {".onnx": tiny, ".png": photos / "coffee.png", ".jpg": photos / "rocket.jpg"}.get(Path(name).suffix)
        if source is not None:
            Path(name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, name)
    for folder in ("photos", "photos/deep", "imagenet/val/zero", "imagenet/val/four"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shutil.copy(photos / "rocket.jpg", folder)
    for table in ("test.csv", "examples/photos.csv"):
        Path(table).parent.mkdir(exist_ok=True)
        Path(table).write_text(f"image,label\n{tmp_path}/photos/deep/rocket.jpg,zero\n")
    return tmp_path


@pytest.mark.parametrize("command", runnable(), ids=lambda each: " ".join(each.words))
def test_they_work(command: Suggested, command_line: Callable[..., tuple[int, str, str]], sandbox: Path) -> None:
    if {"--key", "--require-signature"} & set(command.words):
        assert command_line("torchless", "keygen", "mine")[0] == 0
        assert command_line("torchless", "sign", "resnet50.onnx", "--key", "mine")[0] == 0
    code, _, err = command_line(*command.words)
    assert code == 0, err


def test_what_messages_suggest_works(command_line: Callable[..., tuple[int, str, str]], sandbox: Path) -> None:
    """Each error names the command that mends it, and that command is run."""

    def suggested(*typed: str) -> list[str]:
        code, _, err = command_line(*typed)
        assert code in (2, 3)
        return re.split(r" (?=torchless |infer )", err.strip())[-1].split()

    def works(*words: str) -> bool:
        return command_line(*words)[0] == 0

    assert works(*suggested("infer", "img.jpg", "resnet50.onnx"))
    assert works(*suggested("torchless", "evaluate", "test.csv", "resnet50.onnx"))
    assert works(*suggested("torchless", "repository", "models", "resnet50.onnx"))
    assert works("torchless", "keygen", "mine")
    trusted = ("infer", "resnet50.onnx", "img.jpg", "--require-signature", "mine.pub")
    assert works(*[word.replace("KEY", "mine") for word in suggested(*trusted)])
    assert works(*trusted)
    Path("resnet50.onnx").unlink()
    near = command_line("infer", "resnet50.onnx", "img.jpg")[2].split("did you mean ")[1].split("?")[0]
    assert works("infer", near, "img.jpg")
    for form in ("int8", "fp16", "tuned"):
        _, verb, *rest = suggested("torchless", "inspect", f"resnet50.{form}.onnx")
        VERBS[verb].make_context(verb, list(rest)).close()
        assert rest[0] == "artifacts/resnet50.onnx"
        assert rest[-1] == f"resnet50.{form}.onnx"
