"""`torchless compare`, from the command line to the files it leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from PIL import Image
from tests.models import LABELS
from tests.surroundings import PATIENCE_S

from torchless.engine.classifier import Classifier
from torchless.errors import TorchlessError
from torchless.evaluate.dataset import Dataset, Example
from torchless_export.compare.comparison import Comparison
from torchless_export.compare.errors_on_data import _digest
from torchless_export.compare.measure import Sample, Task, measure_in_process
from torchless_export.compare.rounds import measure_all

FILES = {"comparison.json", "measurements.json", "report.html"} | {
    f"{name}.{kind}" for name in ("bubble-cpu", "errors", "cpu-time", "size") for kind in ("png", "svg")
}
QUICK = ("--rounds", 1, "--seconds", 0.01, "--device", "cpu", "--threads", 1)

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def labelled(tiny: Path, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos in folders of the classes that the tiny model takes them for, but one."""
    folder = tmp_path_factory.mktemp("labelled")
    classifier = Classifier(tiny, device="cpu")
    for label in LABELS:
        (folder / label).mkdir()
    for number, name in enumerate(("coffee.png", "chelsea.png", "rocket.jpg", "camera.png")):
        image = Image.open(photos / name).convert("RGB").resize((64, 48))
        answer = classifier.classify(image, top_k=5).predictions
        image.save(folder / answer[number == 3].label / f"{name}.png")
    return folder


def test_the_whole_command(command_line: Call, tiny: Path, squeezenet: Path, tmp_path: Path) -> None:
    arguments = ("torchless", "compare", tiny, squeezenet, "-o", tmp_path / "out", *QUICK)
    code, out, err = command_line(*arguments, "--max-size-mb", 10)
    assert code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == FILES
    assert "Errors published by torchvision for IMAGENET1K_V1." in out
    assert "no errors for tiny: not a model of torchvision's: measure them on labelled images" in out
    assert "No times on the GPU: not asked for." in out
    assert "take squeezenet1_1 (58.18 % top-1, " in out
    assert err.count("round 1 of 1") == 2
    comparison = Comparison.from_dict(json.loads((tmp_path / "out" / "comparison.json").read_text()))
    assert [row.model for row in comparison.rows] == ["tiny", "squeezenet1_1"]
    assert comparison.rows[1].size_bytes == squeezenet.stat().st_size
    assert comparison.rows[1].parameters == 1_235_496
    assert all(
        0 < row.cpu.single.p50_ms <= row.cpu.single.p95_ms and row.cpu.images_per_second > 0 for row in comparison.rows
    )

    code, out, err = command_line(*arguments, "--json")
    assert code == 0
    assert "round 1" not in err  # all is measured
    document = json.loads(out)
    assert document["comparison"] == comparison.to_dict()
    assert document["recommendation"]["best"]["name"] == "squeezenet1_1"


def test_errors_on_labelled_images(
    command_line: Call, tiny: Path, squeezenet: Path, labelled: Path, tmp_path: Path
) -> None:
    arguments = ("torchless", "compare", tiny, "-o", tmp_path, *QUICK, "--data", labelled)
    code, out, err = command_line(*arguments)
    assert code == 0, err
    (row,) = Comparison.from_dict(json.loads((tmp_path / "comparison.json").read_text())).rows
    assert (row.errors.source, row.errors.of, row.errors.top1, row.errors.top5) == (
        "measured",
        str(labelled),
        25.0,
        None,
    )
    assert row.errors.top1_low < 25 < row.errors.top1_high
    assert f"Errors measured on {labelled}: 4 images; with 95 % intervals." in out
    assert "evaluating tiny (1 of 1) on 4 images" in err
    code, _, err = command_line(*arguments)
    assert "evaluating" not in err
    code, out, err = command_line("torchless", "compare", squeezenet, "-o", tmp_path, *QUICK, "--data", labelled)
    assert code == 0
    assert "no errors for squeezenet1_1: untrained: random weights have no error worth measuring" in out
    assert "nothing to recommend: no model with a known error" in out


def test_errors_on_images_that_were_replaced_since_are_measured_again(tmp_path: Path) -> None:
    image = tmp_path / "a.jpg"
    image.write_text("first")
    dataset = Dataset("data", ("cat",), (Example(str(image), 0),))
    before = _digest(dataset)
    assert _digest(dataset) == before
    image.write_text("another")
    assert _digest(dataset) != before


def test_when_no_model_can_be_measured(
    command_line: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torchless_export.compare.measure.sys.executable", "/bin/false")
    code, _, err = command_line("torchless", "compare", tiny, "-o", tmp_path, *QUICK)
    assert code == 1
    assert err.splitlines()[-1] == f"error: {tiny} cannot be measured: its process ended with code 1"


def test_a_model_that_could_not_be_measured_is_told_of(
    command_line: Call, tiny: Path, squeezenet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(task: Task) -> Sample:
        if "squeezenet" in task.model:
            raise TorchlessError("out of memory")
        return measure_in_process(task)

    monkeypatch.setattr("torchless_export.compare.compare.measure_all", partial(measure_all, measure=measure))
    code, out, _ = command_line("torchless", "compare", tiny, squeezenet, "-o", tmp_path, *QUICK)
    assert code == 1
    assert "FAILED: squeezenet1_1: out of memory" in out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--limit", "3"], 2, "--class-map and --limit go with --data"),
        (["--rounds", "0"], 2, "rounds"),
        (["--device", "tpu"], 2, "unknown device 'tpu'"),
        (["--device", "cuda"], 4, "cannot use cuda"),
        (["nothing.onnx"], 3, "no file nothing.onnx"),
        (["resnet5O"], 2, "did you mean resnet50"),
        (["--data", "nowhere"], 2, "nowhere"),
        (["-o", "/proc/nowhere"], 2, "cannot write /proc/nowhere"),
    ],
)
def test_wrong_usage(
    command_line: Call, tiny: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    output = [] if "-o" in arguments else ["-o", tmp_path / "out"]
    found, _, err = command_line("torchless", "compare", tiny, "--artifacts", tmp_path, *output, *arguments)
    assert found == code
    assert said in err


def test_without_matplotlib(command_line: Call, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, _, err = command_line("torchless", "compare", tiny, "-o", tmp_path / "out", *QUICK)
    assert code == 2
    assert (
        "a chart needs the extra compare (import of matplotlib halted; None in sys.modules); install it: pip "
        "install 'torchless[compare]'" in err
    )
    assert not (tmp_path / "out").exists()


def test_files_need_no_torch(tiny: Path, squeezenet: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules |= dict.fromkeys(('torch', 'torchvision', 'onnx')); from torchless.cli.main "
        "import main; main()"
    )

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", code, "compare", *map(str, arguments), "-o", str(tmp_path), *map(str, QUICK)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(tiny, squeezenet)
    assert done.returncode == 0, done.stderr
    assert "no errors for squeezenet1_1: torchvision, which publishes them, is not installed" in done.stdout
    done = run(tiny, "resnet18")
    assert done.returncode == 2
    assert "pip install 'torchless[export]'" in done.stderr


def test_ctrl_c_keeps_what_is_measured(tiny: Path, tmp_path: Path) -> None:
    program = [
        "env",
        "--default-signal=INT",
        sys.executable,
        "-m",
        "torchless",
    ]  # a shell's background job, as a test run may be, ignores it
    command = [*program, "compare", str(tiny), "-o", str(tmp_path), "--rounds", "1000", "--seconds", "0.01"]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, start_new_session=True
    )
    deadline = time.monotonic() + PATIENCE_S
    while not (tmp_path / "measurements.json").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does it
    _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert err.splitlines()[-1] == f"interrupted; the same command continues from what is in {tmp_path}"
    assert "Traceback" not in err
    (run,) = json.loads((tmp_path / "measurements.json").read_text())["runs"].values()
    assert run["rounds"]
    assert {path.name for path in tmp_path.iterdir()} == {"measurements.json"}
