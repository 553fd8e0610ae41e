"""What `torchless doctor MODEL` says of model files; tests/install/test_doctor.py has faulty installations."""

import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests import onnx_model

from torchless.doctor import pillow, processors
from torchless.doctor.model import model_findings
from torchless.doctor.pillow import pillow_findings
from torchless.engine.options import ModelOptions
from torchless.image import fast
from torchless.model.artifact import manifest_of, read_artifact
from torchless.model.onnxfile import read_onnx
from torchless.model.preprocessing import PreprocessChanges, Resize

Run = Callable[..., tuple[int, str, str]]


def only_problem(path: Path, check: str = "model") -> tuple[str, list[str]]:
    """The message and the command's words of the one problem that is found."""
    (problem,) = [finding for finding in model_findings(path) if not finding.is_well]
    assert (problem.check, problem.exit_code) == (check, 3)
    return problem.message, shlex.split(problem.fix)


def test_an_artifact_that_is_well(pair: Path) -> None:
    runs, proof, answers = model_findings(pair)
    assert runs.message == f"{pair} runs: 5 classes, opset ai.onnx 20, IR version 10"
    assert proof.message == "passed the parity gate, and is unchanged since"
    assert runs.is_well
    assert proof.is_well
    assert answers.message == "PyTorch's, on the 2 images inside the file"
    assert answers.is_well


def test_an_artifact_that_gives_other_answers_here(tiny: Path, tmp_path: Path) -> None:
    model = onnx_model.load(tiny)
    onnx_model.first_weight(model).raw_data = bytes(len(onnx_model.first_weight(model).raw_data))
    path = onnx_model.save_sealed(model, tmp_path / "tiny.onnx")
    *others, answers = model_findings(path)
    assert all(finding.is_well for finding in others)
    assert "does not give PyTorch's answers here (cpu): logits: " in answers.message
    assert (answers.check, answers.exit_code) == ("answers", 5)
    assert answers.fix == f"torchless export tiny --builder tests.models:tiny --output {path}"


def test_an_artifact_without_evidence(changed: Callable[..., Path], tiny: Path) -> None:
    *_, answers = model_findings(changed(manifest=read_artifact(tiny).manifest.to_json()))
    assert answers.message.startswith("not compared with PyTorch's")
    assert answers.is_well


def test_an_artifact_that_takes_pixels(pixels: Path) -> None:
    """Other kinds of artifacts: tests/export/test_doctor.py."""
    assert [(finding.check, finding.is_well, finding.fix) for finding in model_findings(pixels)] == [
        ("model", True, None),
        ("proof", True, None),
        ("answers", True, None),
    ]


def test_a_file_that_its_user_describes(
    command_line: Run, changed: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    foreign = changed(manifest="")
    (tmp_path / "manifest.json").write_text(read_artifact(tiny).manifest.to_json())
    message, _ = only_problem(foreign)
    assert "missing `resize`" in message
    opening = ModelOptions(manifest=read_artifact(tiny).manifest)
    assert [(finding.check, finding.is_well) for finding in model_findings(foreign, opening)] == [
        ("model", True),
        ("proof", True),
    ]
    assert "missing --resize" in command_line("torchless", "doctor", foreign)[1]
    assert (
        f"{foreign} runs: 5 classes"
        in command_line("torchless", "doctor", foreign, "--manifest", tmp_path / "manifest.json")[1]
    )


def test_missing_data(pair: Path) -> None:
    pair.with_name("tiny.onnx.data").unlink()
    message, command = only_problem(pair)
    assert "tiny.onnx.data, which is not beside it; copy both files together" in message
    assert command == ["torchless", "export", "tiny", "--builder", "tests.models:tiny", "--output", str(pair)]


def test_altered_data(pair: Path) -> None:
    data = pair.with_name("tiny.onnx.data")
    content = bytearray(data.read_bytes())
    content[100] ^= 1
    data.write_bytes(content)
    assert "is incomplete, altered, or from another export" in only_problem(pair)[0]


def test_a_changed_seal(changed: Callable[..., Path]) -> None:
    path = changed(lambda model: setattr(model.graph.node[0], "doc_string", "changed"))
    assert "was changed after it was sealed" in only_problem(path, "proof")[0]


@pytest.mark.parametrize(
    ("content", "says"),
    [(None, "there is no file"), (b"", "is empty"), (b"PK\x03\x04", "is not an ONNX model; export or copy it again")],
)
def test_no_model(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "resnet50.onnx"
    if content is not None:
        path.write_bytes(content)
    message, command = only_problem(path)
    assert says in message
    assert command == ["torchless", "export", "resnet50", "--output", str(path)]


def test_no_manifest(changed: Callable[..., Path]) -> None:
    assert "has no manifest" in only_problem(changed(manifest=""))[0]


def test_a_model_newer_than_any_onnx_runtime(changed: Callable[..., Path]) -> None:
    message, command = only_problem(changed(lambda model: setattr(model, "ir_version", 99)))
    assert "the installed onnxruntime is too old" in message
    assert "the file has opset ai.onnx 20, IR version 99" in message
    assert command[1:] == ["-m", "pip", "install", "--upgrade", "onnxruntime"]


def test_a_model_that_answers_nan(changed: Callable[..., Path]) -> None:
    def poison(model: onnx_model.ModelProto) -> None:
        bias = next(weight for weight in model.graph.initializer if tuple(weight.dims) == (5,))
        bias.raw_data = b"\xff" * len(bias.raw_data)

    path = changed(poison)
    message, _ = only_problem(path)
    assert f"{path} fails on a black image: the model's output contains NaN" in message


def test_the_command_that_exports_again_names_what_the_manifest_does(changed: Callable[..., Path], tiny: Path) -> None:
    own = manifest_of(read_onnx(tiny))
    changes = PreprocessChanges(resize=Resize(mode="short_side", size=(37,)), crop=(32, 32), mean=(0.4, 0.5, 0.6))
    for model, words in {
        replace(
            own.model, name="resnet18", source="torchvision", builder=None, weights="IMAGENET1K_V1"
        ): "--weights IMAGENET1K_V1",
        replace(
            own.model, name="resnet18", builder=None, weights=None, seed=7
        ): "--weights none --seed 7 --num-classes 5",
        replace(
            own.model,
            name="swin_t",
            builder=None,
            checkpoint="my own.pth",
            weights="my own.pth",
            labels_file="l.txt",
            changes=changes,
        ): "--checkpoint 'my own.pth' --labels l.txt --resize 37 --crop 32x32 --mean 0.4,0.5,0.6",
    }.items():
        path = changed(manifest=replace(own, model=model).to_json())
        findings = [finding for finding in model_findings(path) if not finding.is_well]
        assert {finding.fix for finding in findings} == {f"torchless export {model.name} {words} --output {path}"}


def test_the_command_that_exports_again_names_the_head(changed: Callable[..., Path], tiny: Path) -> None:
    own = manifest_of(read_onnx(tiny))
    head = replace(own.output, activation="sigmoid", thresholds=(0.5, 0.25, 0.5, 0.5, 0.5))
    path = changed(manifest=replace(own, output=head).to_json())
    fixes = {finding.fix for finding in model_findings(path) if not finding.is_well}
    words = "--activation sigmoid --threshold 0.5,0.25,0.5,0.5,0.5"
    assert fixes == {f"torchless export tiny --builder tests.models:tiny {words} --output {path}"}


def test_the_command(command_line: Run, tiny: Path, tmp_path: Path) -> None:
    code, out, err = command_line("torchless", "doctor", tiny)
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "no problems found"
    code, out, _ = command_line("torchless", "doctor", tmp_path / "none.onnx")
    assert code == 3
    assert out.splitlines()[-1] == "1 problem; under each is the command that fixes it"
    assert f"    torchless export MODEL --output {tmp_path / 'none.onnx'}" in out
    code, out, _ = command_line("torchless", "doctor", "--json", tmp_path / "none.onnx")
    report = json.loads(out)
    assert (code, report["well"]) == (3, False)
    assert report["findings"][-1] == {
        "check": "model",
        "well": False,
        "message": f"there is no file {tmp_path / 'none.onnx'}; make it with: torchless export MODEL --output "
        f"{tmp_path / 'none.onnx'}",
        "fix": f"torchless export MODEL --output {tmp_path / 'none.onnx'}",
    }


def test_what_fast_decoding_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    def said() -> str:
        (found,) = [finding for finding in pillow_findings() if finding.check == "fast decoding"]
        assert found.is_well
        return found.message

    monkeypatch.setattr(fast, "missing_packages", lambda: ())
    assert re.fullmatch(r"simplejpeg [\d.]+, cykooz_resizer [\d.]+", said())
    monkeypatch.setattr(fast, "missing_packages", lambda: fast.PACKAGES)
    assert "; simplejpeg and cykooz_resizer cannot be used here, such as with another Pillow" in said()
    monkeypatch.setattr(pillow, "find_spec", lambda name: None)
    monkeypatch.setattr(pillow, "_broken_formats", dict)
    assert re.search(r"; simplejpeg and cykooz_resizer not installed: .*pip install 'torchless\[fast\]'$", said())


def test_a_quota_that_pytorch_does_not_see(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processors, "available_cpus", lambda: 2)
    monkeypatch.setattr(processors, "find_spec", lambda _: object())  # of torch
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)))
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    (finding,) = processors.processor_findings()
    assert "quota is 2 of 64 processors" in finding.message
    assert (finding.fix, finding.exit_code) == ("export OMP_NUM_THREADS=2", 1)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    (finding,) = processors.processor_findings()
    assert finding.is_well
