"""What is refused before torch is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torchvision

from torchless.errors import UsageError
from torchless_export.errors import UnknownModelError, WeightsError
from torchless_export.sources.ahead import check_checkpoint, check_output
from torchless_export.sources.catalog import model_names
from torchless_export.sources.names import check_offered, offered

# What was typed, the exit code, what is said.
REFUSED = (
    (["export", "resnet5o"], 2, "torchvision has no classifier 'resnet5o'; did you mean resnet50 or "),
    (["export", "resnet50", "--weights", "V3"], 2, "it has IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT (or none)"),
    (["export", "resnet50", "--num-classes", "5"], 2, "--num-classes goes with --checkpoint or --weights none"),
    (["export", "resnet50", "--checkpoint", "no.pth"], 2, "there is no checkpoint file no.pth"),
    (["export", "resnet50", "--labels", "no.txt"], 2, "labels file no.txt: No such file"),
    (["export", "resnet50", "--expect", "no.jsonl"], 2, "no.jsonl"),
    (["export", "resnet50", "--output", "x.pt"], 2, "the output file must end in .onnx, got x.pt"),
    (["export", "resnet50", "--opset", "9", "--exporter", "dynamo"], 2, "--opset 9 cannot be written"),
    (["export", "mine", "--builder", "mine"], 2, "--builder takes package.module:function, got 'mine'"),
    (["verify", "no.onnx", "--rebuild"], 3, "there is no file no.onnx"),
    (["verify", "MODEL", "--checkpoint", "no.pth"], 2, "there is no checkpoint file no.pth"),
    (["verify", "MODEL", "--rebuild", "--labels", "no.txt"], 2, "labels file no.txt: No such file"),
    (["export", "resnet50", "--output", "MODEL/x.onnx"], 2, "it is no folder"),
    (["verify", "MODEL", "--report", "no/x.html"], 2, "cannot write no/x.html: there is no folder no"),
    (["compare", "resnet50", "resnte18"], 2, "torchvision has no classifier 'resnte18'; did you mean resnet18"),
)  # fmt: skip

_SCRIPT = """
import contextlib, io, json, sys
from torchless.cli.main import main

found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv[1:] = arguments
    with contextlib.redirect_stderr(io.StringIO()) as said, contextlib.suppress(SystemExit):
        try:
            main()
        except SystemExit as error:
            found.append((error.code, said.getvalue(), sorted({"torch", "onnx"} & sys.modules.keys())))
print(json.dumps(found))
"""


def test_mistakes_are_told_before_torch_is_imported(tiny: Path, tmp_path: Path) -> None:
    """All in one process: whatever imports torch shows in all that follow."""
    typed = [[word.replace("MODEL", str(tiny)) for word in words] for words, *_ in REFUSED]
    command = [sys.executable, "-c", _SCRIPT, json.dumps(typed)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert len(found) == len(REFUSED)
    for (words, code, message), (got, said, imported) in zip(REFUSED, found, strict=True):
        assert (words, got, imported) == (words, code, [])
        assert message in said
    assert list(tmp_path.iterdir()) == []


def test_the_names_are_torchvisions() -> None:
    assert set(offered()) == set(model_names())
    assert {name: set(weights) for name, weights in offered().items()} == {
        name: set(torchvision.models.get_model_weights(name).__members__) for name in model_names()
    }


def test_names_that_cannot_be_read_are_left_to_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UnknownModelError):
        check_offered("none")
    monkeypatch.setattr("torchless_export.sources.names.offered", dict)
    check_offered("none", "V9")


def test_folders_are_no_files(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").mkdir()
    with pytest.raises(UsageError, match="it is a folder"):
        check_output(tmp_path / "x.onnx", ".onnx")
    with pytest.raises(WeightsError, match="is a folder; give the file of weights in it"):
        check_checkpoint(tmp_path)
