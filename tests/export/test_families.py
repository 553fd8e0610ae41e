"""One small model of each family, through export, the real gate and infer; `make zoo` does all 80 (docs/zoo.md)."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALLEST = (
    "alexnet", "vgg11", "googlenet", "inception_v3", "resnet18", "resnext50_32x4d", "wide_resnet50_2", "densenet121", "squeezenet1_1",
    "shufflenet_v2_x0_5", "mobilenet_v2", "mnasnet0_5", "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vit_b_32", "swin_t", "maxvit_t",
)  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_family(name: str, tmp_path: Path, photos: Path) -> None:
    """In a process of its own: torch's exporter keeps what it traced, and eighteen networks add up."""

    def run(*arguments: object) -> str:
        command = [sys.executable, "-m", "torchless", *map(str, arguments)]
        done = subprocess.run(command, cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    summary = run("export", name, "--weights", "none", "--output", "model.onnx")
    assert "parity passed on 16 images" in summary
    rows = [json.loads(line) for line in run("infer", "model.onnx", photos / "coffee.png", photos / "chelsea.png", "-f", "jsonl").splitlines()]
    answers = [[prediction["index"] for prediction in row["predictions"]] for row in rows]
    assert answers[0] != answers[1]
