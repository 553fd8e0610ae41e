"""Other devices than the CPU's own provider, for real: both builds of OpenVINO run on processors; and what the extras
for NVIDIA GPUs resolve to.
"""

import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import REPO
from tests.install.conftest import Environment
from tests.server_process import ServerProcess, wait_until

pytestmark = pytest.mark.slow

CONSTRAINTS = REPO / "constraints.txt"
EXTRAS = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["optional-dependencies"]
PATIENCE_S = 120


@pytest.fixture(scope="module")
def openvino(wheel: Path, make_environment: Callable[..., Environment]) -> Environment:
    """ONNX Runtime built with OpenVINO, and a server's packages."""
    return make_environment("openvino", "--constraint", CONSTRAINTS, f"{wheel}[serve]", "onnxruntime-openvino")


@pytest.fixture(scope="module")
def plug_in(wheel: Path, make_environment: Callable[..., Environment]) -> Environment:
    """The usual ONNX Runtime, and OpenVINO's plug-in for it."""
    return make_environment("plug-in", "--constraint", CONSTRAINTS, f"{wheel}[cpu]", "onnxruntime-ep-openvino")


def predictions(environment: Environment, lite0: Path, photos: Path, device: str) -> list[tuple[int, float]]:
    images = [photos / name for name in ("coffee.png", "rocket.jpg", "camera.png")]
    done = environment.run("infer", lite0, *images, "--format", "jsonl", "--device", device)
    rows = [json.loads(line)["predictions"] for line in done.stdout.splitlines()]
    return [(each["index"], each["probability"]) for row in rows for each in row]


def assert_same_as_on_the_cpu(environment: Environment, lite0: Path, photos: Path) -> None:
    found, wanted = (predictions(environment, lite0, photos, device) for device in ("openvino", "cpu"))
    assert [index for index, _ in found] == [index for index, _ in wanted]
    assert [probability for _, probability in found] == pytest.approx([one for _, one in wanted], abs=1e-4)


def assert_proved(environment: Environment, lite0: Path) -> None:
    done = environment.run("torchless", "verify", lite0, "--device", "openvino")
    assert ": proved against PyTorch's recorded answers on 12 images" in done.stdout
    assert re.search(r"^  on openvino:cpu \(all \d+ nodes\), ONNX Runtime 1\.", done.stdout, re.MULTILINE)


def test_openvino_by_its_own_build(openvino: Environment, lite0: Path, photos: Path) -> None:
    assert_same_as_on_the_cpu(openvino, lite0, photos)
    assert_proved(openvino, lite0)
    serve = [openvino.bin / "torchless", "serve", lite0, "--device", "openvino", "--self-test", "--port", 0]
    started = ServerProcess(serve, cwd=openvino.home)
    wait_until(lambda: started.get("/v2/health/ready").status_code == 200)
    answer = started.post("/classify", (photos / "coffee.png").read_bytes())
    started.stop()
    assert answer.json()["predictions"][0]["label"] == "espresso"
    assert "openvino:cpu" in started.log
    done = openvino.run("infer", lite0, photos / "coffee.png", "--device", "openvino:gpu", code=4)
    assert done.stderr.startswith("error: cannot use openvino:gpu: ")
    assert len(done.stderr.splitlines()) == 1


def test_openvino_by_its_plug_in(plug_in: Environment, lite0: Path, photos: Path) -> None:
    """It offers itself to processors of Intel alone."""
    if "GenuineIntel" in Path("/proc/cpuinfo").read_text():
        assert_same_as_on_the_cpu(plug_in, lite0, photos)
        assert_proved(plug_in, lite0)
        return
    done = plug_in.run("torchless", "verify", lite0, "--device", "openvino", code=4)
    assert done.stdout == ""
    assert done.stderr.startswith(
        "error: cannot use openvino: the plug-in onnxruntime_ep_openvino finds no openvino:cpu on this machine; it "
        "takes Intel's alone"
    )


@pytest.mark.skipif(platform.machine() != "x86_64", reason="NVIDIA's packages for this processor have other names")
@pytest.mark.parametrize(
    ("extra", "versions", "libraries"),
    [
        ("gpu", r"1\.(2[89]|[3-9]\d)\.", {"nvidia-cuda-runtime": "13.", "nvidia-cudnn-cu13": "9."}),
        ("gpu-cuda12", r"1\.26\.", {"nvidia-cuda-runtime-cu12": "12.", "nvidia-cudnn-cu12": "9.10."}),
    ],
)
def test_the_extras_for_nvidia_gpus_can_be_installed(
    tmp_path: Path, extra: str, versions: str, libraries: dict[str, str]
) -> None:
    """pip only resolves: CUDA's libraries are several GB."""
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report", report]
    subprocess.run([*command, *EXTRAS[extra]], check=True)
    installed = {
        each["metadata"]["name"].lower(): each["metadata"]["version"]
        for each in json.loads(report.read_text())["install"]
    }
    assert re.match(versions, installed["onnxruntime-gpu"])
    assert {name: installed[name][: len(version)] for name, version in libraries.items()} == libraries
    assert "onnxruntime" not in installed
