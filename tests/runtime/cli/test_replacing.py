"""No verb writes onto what it reads."""

import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args, get_type_hints

import pytest
import typer

from torchless.cli.main import program
from torchless.cli.replacing import OUTPUTS, check_outputs
from torchless.errors import UsageError
from torchless.model.signing import make_key, sign

VERBS = typer.main.get_command(program()).commands
READS = "is something that this command reads"


def takes_files(command: object, param: object) -> bool:
    hint = get_type_hints(command.callback)[param.name]
    return param.name not in OUTPUTS and (Path in (hint, *get_args(hint)) or is_argument(param))


def is_argument(param: object) -> bool:
    return param.param_type_name == "argument"


CASES = [
    (verb, output, param.name)
    for verb, command in VERBS.items()
    for output in (param.name for param in command.params if param.name in OUTPUTS)
    for param in command.params
    if takes_files(command, param)
]


def test_every_verb_that_writes_a_file_is_here() -> None:
    writing = {verb for verb, _, _ in CASES}
    assert {"infer", "evaluate", "export", "quantize", "tune", "verify", "compare", "bundle"} <= writing
    others = {verb for verb, command in VERBS.items() if any("-o" in param.opts for param in command.params)}
    assert others <= writing


@pytest.mark.parametrize(("verb", "output", "read"), CASES)
def test_an_output_that_is_read_is_refused(
    verb: str, output: str, read: str, tmp_path: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    """Before anything is opened: the files hold nothing."""
    mine, other = tmp_path / "mine", tmp_path / "other"
    for path in (mine, other):
        path.write_text("precious")
    (link := tmp_path / "link").symlink_to(mine)
    os.link(mine, hard := tmp_path / "hard")
    command = VERBS[verb]
    words: list[object] = [mine if each.name == read else other for each in command.params if is_argument(each)]
    [option] = [each for each in command.params if each.name == read]
    words += [] if is_argument(option) else [option.opts[0], mine]
    [target] = [each.opts[0] for each in command.params if each.name == output]
    for path in (mine, link, hard):
        code, out, err = command_line("torchless", verb, *words, target, path)
        assert (code, out) == (2, "")
        assert err == f"error: {target} {path} {READS} ({mine}), and would be replaced; name another\n"
    assert mine.read_text() == "precious"


@pytest.mark.parametrize("read", ["model", "image"])
def test_infer_refuses_it_without_a_parser_too(
    read: str, tiny: Path, tmp_path: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    (mine := tmp_path / "mine.csv").write_text("precious")
    (link := tmp_path / "link.csv").symlink_to(mine)
    words = (mine, tmp_path / "other.jpg") if read == "model" else (tiny, mine)
    for path in (mine, link):
        code, out, err = command_line("infer", *words, "-o", path)
        assert (code, out) == (2, "")
        assert err == f"error: --output {path} {READS} ({mine}), and would be replaced; name another\n"
    assert mine.read_text() == "precious"


def test_what_an_argument_names_indirectly(tmp_path: Path) -> None:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    image = tmp_path / "photos" / "deep" / "a.png"
    for name in ("photos/deep/a.png", "photos/notes.txt", "m.onnx", "m.onnx.data", "m.onnx.sig", "make.py", "x.jsonl"):
        (tmp_path / name).touch()
    (tmp_path / "photos" / "link.jpg").symlink_to(tmp_path / "x.jsonl")
    (tmp_path / "photos" / "broken.jpg").symlink_to("nowhere")
    zipfile.ZipFile(tmp_path / "a.zip", "w").close()

    def refused(output: Path, **values: object) -> bool:
        try:
            check_outputs({"output": output} | values)
        except UsageError:
            return True
        return False

    photos = [str(tmp_path / "photos")]
    assert refused(image, images=photos)
    assert refused(image, images=[f"{tmp_path}/**/*.png"])
    assert refused(tmp_path / "x.jsonl", images=photos), "an image there is a link to it"
    assert not refused(tmp_path / "photos" / "notes.txt", images=photos), "no image: an earlier run's rows may be there"
    assert not refused(tmp_path / "new.jsonl", images=photos)
    assert refused(tmp_path / "a.zip", images=[f"zip://a.jpg::{tmp_path}/a.zip"])
    assert refused(tmp_path / "m.onnx.data", model=tmp_path / "m.onnx")
    assert refused(tmp_path / "m.onnx.sig", model=tmp_path / "m.onnx")
    assert refused(tmp_path / "make.py", builder=f"{tmp_path}/make.py:model")
    assert refused(tmp_path / "photos", data=tmp_path / "photos"), "charts among the classes"
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "comparison.json").touch()
    assert refused(tmp_path / "out", class_map=tmp_path / "out" / "comparison.json")
    assert not refused(tmp_path / "out", models=["resnet50"], artifacts=Path("artifacts"), limit=3)


def test_the_current_folder_is_read_only_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name without a colon has nothing before it; that is not the current folder."""
    monkeypatch.chdir(tmp_path)
    (output := Path("chart.png")).touch()
    check_outputs({"output": output, "model": "m.onnx", "weights": "none"})
    with pytest.raises(UsageError, match=READS):
        check_outputs({"output": output, "images": ["."]})


def test_a_key_is_not_replaced_by_the_signature(tiny: Path, tmp_path: Path) -> None:
    make_key(tmp_path / "key")
    key = (tmp_path / "key").rename(tiny.with_name(f"{tiny.name}.sig"))
    before = key.read_bytes()
    with pytest.raises(UsageError, match="is where the signature goes"):
        sign(tiny, key)
    assert key.read_bytes() == before
    key.unlink()
