"""One small model of each family, through export, the real gate and infer without torch; `make zoo` does all 80
(docs/zoo.md). MaxViT, which alone takes 100 seconds, is left to it, and so are families whose operators are those of
another: VGG (AlexNet), ResNeXt and wide ResNets (ResNet and RegNet), GoogLeNet (Inception), MNASNet (MobileNet), and
SqueezeNet, which `make demo` exports with real weights.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.install.conftest import Environment

pytestmark = pytest.mark.slow

SMALLEST = (
    "alexnet", "inception_v3", "resnet18", "densenet121", "shufflenet_v2_x0_5", "mobilenet_v2", "efficientnet_b0",
    "regnet_y_400mf", "convnext_tiny", "vit_b_32", "swin_t",
)  # fmt: skip
# At their own size these take minutes of the gate's float64 arithmetic: `make zoo` has them so. ViT and Swin show that
# another size is right.
IMAGE_SIZES = {
    "alexnet": 96, "inception_v3": 139, "densenet121": 96, "efficientnet_b0": 96, "convnext_tiny": 96, "vit_b_32": 96,
    "swin_t": 96,
}  # fmt: skip


@pytest.mark.parametrize("name", SMALLEST)
def test_family(name: str, runtime: Environment, oldest: Environment, tmp_path: Path, photos: Path) -> None:
    """Exports in a process of its own: torch's exporter keeps what it traced, and eleven networks add up."""
    path = tmp_path / "model.onnx"
    size = ["--crop", str(IMAGE_SIZES[name])] if name in IMAGE_SIZES else []
    command = [sys.executable, "-m", "torchless", "export", name, "--weights", "none", "--output", path, *size]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "parity passed on 16 images" in done.stdout
    coffee, cat = answers(runtime, path, photos)
    assert [prediction["index"] for prediction in coffee] != [prediction["index"] for prediction in cat]
    for new, old in zip((coffee, cat), answers(oldest, path, photos), strict=True):
        assert [prediction["index"] for prediction in old] == [prediction["index"] for prediction in new]
        assert [prediction["probability"] for prediction in old] == pytest.approx(
            [prediction["probability"] for prediction in new], abs=1e-4
        )
    path.unlink()  # the larger ones have half a gigabyte


def answers(environment: Environment, path: Path, photos: Path) -> list[list[dict]]:
    done = environment.run("infer", path, photos / "coffee.png", photos / "chelsea.png", "--format", "jsonl")
    return [json.loads(line)["predictions"] for line in done.stdout.splitlines()]
