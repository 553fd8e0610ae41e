"""A model that is really trained, by examples/finetune_digits.py, as its docstring says: exported, and equal to PyTorch image by image."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import REPO

SCRIPT = REPO / "examples" / "finetune_digits.py"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs the commands of the script's docstring; gives the folder they were run in."""
    box = tmp_path_factory.mktemp("finetuned")
    commands = re.sub(r"\\\n +", "", SCRIPT.read_text().split('"""')[1])
    lines = [line.strip() for line in commands.splitlines() if line.startswith("    ")]
    assert [line.split()[0] for line in lines] == ["python", "torchless", "infer"]
    programs = {
        "python": [sys.executable],
        "torchless": [sys.executable, "-m", "torchless"],
        "infer": [sys.executable, "-m", "torchless", "infer"],
    }
    for line in lines:
        program, *arguments = shlex.split(line.replace("examples/finetune_digits.py", str(SCRIPT)))
        done = subprocess.run([*programs[program], *arguments], cwd=box, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    return box / "digits"


def test_every_image_has_pytorchs_answer_and_nearly_all_are_right(folder: Path) -> None:
    wanted = {row["image"]: row for row in map(json.loads, (folder / "pytorch.jsonl").read_text().splitlines())}
    rows = [json.loads(line) for line in (folder / "infer.jsonl").read_text().splitlines()]
    assert len(rows) == len(wanted) == 360
    right = 0
    for row in rows:
        name, best = Path(row["image"]).name, row["predictions"][0]
        assert best["index"] == wanted[name]["index"]
        assert best["probability"] == pytest.approx(wanted[name]["probability"], abs=1e-4)
        right += best["label"] == f"digit {name[0]}"
    assert right / len(rows) > 0.95


def test_the_manifest_tells_where_it_is_from(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "torchless", "inspect", folder / "digits.onnx", "--json"], capture_output=True, text=True, check=True
    )
    manifest = json.loads(done.stdout)["manifest"]
    assert manifest["model"]["weights"] == "checkpoint.pth"
    assert manifest["labels"] == [f"digit {number}" for number in range(10)]
    assert (manifest["preprocess"]["resize_size"], manifest["preprocess"]["crop_size"]) == (64, 64)
    assert manifest["published"] is None
