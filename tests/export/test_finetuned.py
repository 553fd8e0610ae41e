"""A model that is really trained, by examples/finetune_digits.py, as its docstring says: exported, and equal to PyTorch
image by image.
"""

import json
import re
import shlex
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPO

from torchless import Classifier
from torchless.evaluate.dataset import read_dataset
from torchless.evaluate.run import evaluate
from torchless.model.artifact import read_artifact

pytestmark = pytest.mark.slow

SCRIPT = REPO / "examples" / "finetune_digits.py"
EPOCHS = 4  # 97 % of the images are right then


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the commands of the script's docstring, but for a shorter training; gives the folder they were run in."""
    box = tmp_path_factory.mktemp("finetuned")
    commands = re.sub(r"\\\n +", "", SCRIPT.read_text().split('"""')[1])
    lines = [line.strip() for line in commands.splitlines() if line.startswith("    ")]
    assert [line.split()[0] for line in lines] == ["python", "infer", "torchless", "torchless"]
    programs = {
        "python": [sys.executable],
        "torchless": [sys.executable, "-m", "torchless"],
        "infer": [sys.executable, "-m", "torchless", "infer"],
    }
    for line in lines:
        program, *arguments = shlex.split(
            line.replace("examples/finetune_digits.py digits", f"{SCRIPT} digits {EPOCHS}")
        )
        done = subprocess.run([*programs[program], *arguments], cwd=box, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        if arguments[0] == "evaluate":
            (box / "digits" / "evaluate.json").write_text(done.stdout)
    return box / "digits"


def answers(folder: Path) -> list[dict[str, Any]]:
    """PyTorch's, as the script wrote them, with the best classes."""
    rows = [json.loads(line) for line in (folder / "pytorch.jsonl").read_text().splitlines()]
    for row in rows:
        best = sorted(range(10), key=lambda index: -row["probabilities"][index])
        row |= {"image": Path(row["image"]).name, "index": best[0], "top5": best[:5]}
        row |= {"probability": row["probabilities"][best[0]]}
    return rows


def test_every_image_has_pytorchs_answer_and_nearly_all_are_right(folder: Path) -> None:
    wanted = {row["image"]: row for row in answers(folder)}
    rows = [json.loads(line) for line in (folder / "infer.jsonl").read_text().splitlines()]
    assert len(rows) == len(wanted) == 360
    right = 0
    for row in rows:
        name, best = Path(row["image"]).name, row["predictions"][0]
        assert best["index"] == wanted[name]["index"]
        assert best["probability"] == pytest.approx(wanted[name]["probability"], abs=1e-4)
        right += best["label"] == f"digit {name[0]}"
    assert right / len(rows) > 0.95


def test_evaluate_gives_pytorchs_own_accuracy(folder: Path) -> None:
    rows = answers(folder)
    truth = [int(row["image"][0]) for row in rows]
    report = json.loads((folder / "evaluate.json").read_text())
    assert (report["images"], report["failed"]) == (360, [])
    assert (
        report["top1_error"]["value"]
        == sum(row["index"] != digit for row, digit in zip(rows, truth, strict=True)) / 360
    )
    assert (
        report["top5_error"]["value"]
        == sum(digit not in row["top5"] for row, digit in zip(rows, truth, strict=True)) / 360
    )
    assert report["mean_confidence"] == pytest.approx(sum(row["probability"] for row in rows) / 360, abs=1e-4)
    wrong = Counter((digit, row["index"]) for row, digit in zip(rows, truth, strict=True) if digit != row["index"])
    assert {(pair["target"], pair["predicted"]): pair["images"] for pair in report["confusions"]} == wrong
    assert {row["index"]: row["images"] for row in report["classes"]} == Counter(truth)
    classifier = Classifier(folder / "digits.onnx", device="cpu")
    evaluation = evaluate(classifier, read_dataset(folder / "test.csv", labels=classifier.labels))
    assert {Path(name).name: answer for name, answer in evaluation.answers.items()} == {
        row["image"]: row["index"] for row in rows
    }
    assert (folder / "confusion.png").stat().st_size > 10_000


def test_the_manifests_tell_where_they_are_from(folder: Path) -> None:
    live, rebuilt = (read_artifact(folder / name).manifest for name in ("digits.onnx", "from-checkpoint.onnx"))
    assert (live.model.source, live.assumed) == ("module", ())
    assert (rebuilt.model.weights, rebuilt.assumed) == ("checkpoint.pth", ("architecture", "transform", "activation"))
    assert live.labels == rebuilt.labels == tuple(f"digit {number}" for number in range(10))
    assert live.preprocess == rebuilt.preprocess
    assert rebuilt.published is None
    for manifest in (live, rebuilt):
        assert "expected" in [check.name for check in manifest.parity.checks]
