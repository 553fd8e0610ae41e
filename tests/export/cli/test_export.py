"""`torchless export`, end to end: the file that appears, the file that does not, and what is said."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from tests.conftest import REPO

from torchless.model.manifest import Manifest
from torchless.model.onnxfile import read_onnx


@pytest.fixture
def run(
    command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Runs `torchless export …` in an empty folder from which the tests' builders can be imported; gives (exit code,
    stdout, stderr).
    """
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(REPO))
    return partial(command_line, "torchless", "export")


def test_an_untrained_torchvision_model(run, tmp_path: Path, photos: Path) -> None:
    code, out, err = run("squeezenet1_1", "--weights", "none", "--seed", 4)
    path = tmp_path / "artifacts" / "squeezenet1_1.onnx"
    assert code == 0
    assert [item.name for item in path.parent.iterdir()] == ["squeezenet1_1.onnx"]
    assert out.startswith("artifacts/squeezenet1_1.onnx  5.2 MB  opset 20  ")
    assert "parity passed on 16 images:" in out
    assert "note: squeezenet1_1 is untrained" in out
    words = [line.split("] ")[1].split()[0] for line in err.splitlines()]
    assert words == ["starting", "loading", "converting", "proving", "carries"]
    manifest = Manifest.from_json(read_onnx(path).metadata[Manifest.KEY])
    assert (manifest.model.weights, manifest.model.seed, manifest.model.num_params) == (None, 4, 1_235_496)
    assert manifest.parity.passed
    assert [check.name for check in manifest.parity.checks] == [
        "reference", "structure", "labels", "preprocessing", "logits_random", "logits_photos", "batching", "decision",
        "not_vacuous", "activation",
    ]  # fmt: skip
    assert manifest.produced_by.exporter == "dynamo"


def test_opset(run, tmp_path: Path) -> None:
    assert run("tiny", "--builder", "tests.models:tiny", "--opset", 18, "-o", "old.onnx")[0] == 0
    assert read_onnx(tmp_path / "old.onnx").opsets == {"ai.onnx": 18}


def test_a_failed_gate_is_exit_code_5_and_leaves_no_file(run, tmp_path: Path) -> None:
    code, out, err = run("vacuous", "--builder", "tests.models:zero_head", "-o", "out/vacuous.onnx")
    assert (code, out) == (5, "")
    assert "vacuous.onnx was not written: the dynamo exporter's model does not give PyTorch's answers:" in err
    assert any(line.split()[:2] == ["not_vacuous", "FAILED"] for line in err.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_a_failed_gate_keeps_the_old_file(run, tmp_path: Path) -> None:
    (tmp_path / "old.onnx").write_bytes(b"precious")
    assert run("x", "--builder", "tests.models:zero_head", "-o", "old.onnx")[0] == 5
    assert (tmp_path / "old.onnx").read_bytes() == b"precious"


def test_a_model_that_torch_cannot_convert(run) -> None:
    code, _, err = run("x", "--builder", "tests.models:unexportable")
    assert code == 5
    assert "error: x.onnx was not written: torch's dynamo exporter failed: " in err
    assert "\ntorch's torchscript exporter failed: " in err
    assert "Traceback (most" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["resnet5"], 2, "did you mean resnet50"),
        (
            ["resnet50", "--weights", "V9"],
            2,
            "resnet50 has no weights 'V9'; it has IMAGENET1K_V1, IMAGENET1K_V2, DEFAULT (or none)",
        ),
        (["resnet50", "--checkpoint", "none.pth"], 2, "there is no checkpoint file none.pth"),
        (["resnet50", "-o", "x.pt"], 2, "the output file must end in .onnx"),
        (["resnet50", "-o", "file/x.onnx"], 2, "cannot write file: "),
        (["resnet50", "-o", "folder.onnx"], 2, "error: cannot write folder.onnx: it is a folder"),
        (["resnet50", "--opset", "99"], 2, "--opset"),
        (["resnet50", "--seed", "99999999999999999999"], 2, "--seed"),
    ],
)
def test_errors_end_with_their_exit_code(run, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.onnx").mkdir()
    got, out, err = run(*arguments)
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.onnx"]


def test_without_torch_the_extra_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless_export.cli.options.find_spec", lambda name: None)
    code, _, err = run("resnet50")
    assert code == 2
    assert (
        "needs the extra export (not installed: torch, torchvision, onnx, onnxscript); install it: pip install "
        "'torchless[export]'" in err
    )
