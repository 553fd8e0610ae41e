"""The end-to-end truth: the installed program, in an environment without torch, on real photos with a real model."""

import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.conftest import REPO
from tests.install.conftest import Environment
from tests.stand_in_driver import build_driver

from release_check import tree
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest

pytestmark = pytest.mark.slow

OLDEST = dict(re.findall(r"^([a-z]+)==([0-9.]+)", (REPO / "constraints-oldest.txt").read_text(), re.MULTILINE))
PHOTOS = ("coffee.png", "chelsea.png", "camera.png", "rocket.jpg")


@pytest.fixture(scope="module")
def truth(photos: Path) -> dict[str, torch.Tensor]:
    """PyTorch's probabilities for each photo, (1000,), with torchvision's own transform."""
    loaded = load(ModelRequest(model="efficientnet_lite0", builder="examples.efficientnet_lite:lite0"))
    with torch.inference_mode():
        return {
            name: loaded.module(loaded.transform(Image.open(photos / name).convert("RGB"))[None]).softmax(1)[0]
            for name in PHOTOS
        }


def rows(environment: Environment, lite0: Path, photos: Path, *flags: object) -> dict[str, list[dict]]:
    done = environment.run("infer", lite0, *[photos / name for name in PHOTOS], "--format", "jsonl", *flags)
    return {Path(row["image"]).name: row["predictions"] for row in map(json.loads, done.stdout.splitlines())}


def assert_equal_to_pytorch(predictions: dict[str, list[dict]], truth: dict[str, torch.Tensor]) -> None:
    for name in PHOTOS:
        best = truth[name].topk(5)
        assert [prediction["index"] for prediction in predictions[name]] == best.indices.tolist()
        assert [prediction["probability"] for prediction in predictions[name]] == pytest.approx(
            best.values.tolist(), abs=1e-4
        )


def test_there_is_no_torch(runtime: Environment) -> None:
    installed = {
        entry["name"].lower()
        for entry in json.loads(runtime.run("python", "-m", "pip", "list", "--format", "json").stdout)
    }
    assert not installed & {"torch", "torchvision", "onnx", "onnxscript"}
    assert {"torchless", "numpy", "pillow", "typer", "onnxruntime"} <= installed


def test_labels_and_probabilities_are_pytorchs(runtime: Environment, lite0: Path, photos: Path, truth) -> None:
    predictions = rows(runtime, lite0, photos)
    assert_equal_to_pytorch(predictions, truth)
    assert predictions["coffee.png"][0]["label"] == "espresso"
    assert predictions["camera.png"][0]["label"] == "tripod"
    assert predictions["chelsea.png"][0]["label"] in ("tiger cat", "tabby", "Egyptian cat")
    assert predictions["rocket.jpg"][0]["label"] in ("missile", "projectile")


def test_the_table_that_a_person_reads(runtime: Environment, lite0: Path, photos: Path) -> None:
    done = runtime.run("infer", lite0, photos / "coffee.png")
    heading, best, *_ = done.stdout.splitlines()
    assert heading.endswith("coffee.png")
    assert re.fullmatch(r" +9\d\.\d\d %  █+.?  +espresso", best)


def test_python_api(runtime: Environment, lite0: Path, photos: Path) -> None:
    code = (
        "import sys; from torchless import Classifier; "
        "print(Classifier(sys.argv[1]).classify(sys.argv[2]).predictions[0].label)"
    )
    assert runtime.run("python", "-c", code, lite0, photos / "coffee.png").stdout == "espresso\n"


def test_inspect_and_module_call(runtime: Environment, lite0: Path) -> None:
    assert "EfficientNetLite" in runtime.run("python", "-m", "torchless", "inspect", lite0, "--layers").stdout


def test_evaluate(runtime: Environment, lite0: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text(
        f"image,label\n{photos / 'coffee.png'},espresso\n{photos / 'camera.png'},tripod\n"
    )
    assert (
        "  top-1 error  0.00 %  95 % interval 0.00 to 65.76 %"
        in runtime.run("torchless", "evaluate", lite0, tmp_path / "list.csv").stdout
    )
    done = runtime.run(
        "torchless", "evaluate", lite0, tmp_path / "list.csv", "--confusion-matrix", tmp_path / "x.png", code=2
    )
    assert "pip install 'torchless[compare]'" in done.stderr


def test_export_says_what_to_install(runtime: Environment) -> None:
    done = runtime.run("torchless", "export", "resnet50", code=2)
    assert "pip install 'torchless[export]'" in done.stderr


def test_a_closed_pipe_is_no_traceback(runtime: Environment, lite0: Path, photos: Path) -> None:
    done = runtime.run("python", "-c", PIPE, runtime.bin / "infer", lite0, photos)
    assert done.stdout.splitlines()[0].startswith('{"image": ')
    assert "Traceback" not in done.stdout
    assert "BrokenPipe" not in done.stdout


PIPE = """
import subprocess, sys
reader = subprocess.Popen(sys.argv[1:4] + ["-f", "jsonl"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
print(reader.stdout.readline())
reader.stdout.close()
print(reader.stderr.read())
reader.wait(300)
"""


@pytest.mark.parametrize(
    ("tail", "code", "message"),
    [
        (">&-", 2, "error: standard output is closed"),
        ("> /dev/full", 1, "error: cannot write the results: No space left on device"),
        ("- <&-", 1, ""),
    ],
)
def test_streams_that_are_closed_or_full(
    runtime: Environment, lite0: Path, photos: Path, tail: str, code: int, message: str
) -> None:
    command = f"{runtime.bin / 'infer'} {lite0} {photos / 'coffee.png'} -d cpu {tail}"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_help_on_a_terminal_that_knows_ascii_alone(runtime: Environment) -> None:
    done = subprocess.run(
        [runtime.bin / "infer", "--help"],
        env={"PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0
    assert "photos/" in done.stdout


def test_the_oldest_versions_read_what_we_write(oldest: Environment, lite0: Path, photos: Path, truth) -> None:
    version = oldest.run("python", "-c", "import onnxruntime; print(onnxruntime.__version__)").stdout.strip()
    assert version == OLDEST["onnxruntime"] or sys.version_info >= (3, 13)
    assert_equal_to_pytorch(rows(oldest, lite0, photos), truth)


def test_the_oldest_versions_are_those_of_pyproject() -> None:
    project = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]
    for requirement in (*project["dependencies"], *project["optional-dependencies"]["cpu"]):
        name, lowest = requirement.split(">=")
        assert OLDEST[name] == lowest or OLDEST[name].startswith(lowest + "."), requirement


def test_the_gpu_wheel_without_a_gpu_refuses_cuda(gpu: Environment, lite0: Path, photos: Path) -> None:
    done = gpu.run("infer", lite0, photos / "coffee.png", "--device", "cuda", code=4)
    assert done.stdout == ""
    assert done.stderr.startswith("error: cannot use cuda: no NVIDIA driver is installed")
    assert len(done.stderr.splitlines()) == 1


def test_the_gpu_wheel_without_a_gpu_says_once_that_it_takes_the_cpu(
    gpu: Environment, lite0: Path, photos: Path, truth
) -> None:
    done = gpu.run("infer", lite0, photos / "coffee.png", photos / "camera.png")
    assert re.fullmatch(
        r"device: cpu, (\d+ workers, )?\d+ threads?; the GPU cannot be used: no NVIDIA driver is .*\n2 done, .*\n",
        done.stderr,
    )
    assert_equal_to_pytorch(rows(gpu, lite0, photos), truth)


def test_the_gpu_wheel_with_a_driver_but_no_cuda_libraries(gpu: Environment, lite0: Path) -> None:
    """The driver's answer is replaced, ONNX Runtime's is real: it makes a session on the CPU, and we must notice."""
    code = (
        "import sys; from torchless import Classifier; from torchless.engine import cuda; cuda.driver_problem = "
        "lambda index: None\n"
        "try: Classifier(sys.argv[1], device='cuda')\nexcept Exception as error: print(type(error).__name__, error)"
    )
    done = gpu.run("python", "-c", code, lite0)
    assert done.stdout.startswith("DeviceError cannot use cuda: ONNX Runtime's CUDA provider did not load")
    assert "libcublas" in done.stdout
    assert "pip install 'torchless[gpu]'" in done.stdout
    assert done.stderr == ""


def test_the_gpu_wheel_with_a_driver_that_is_too_old(gpu: Environment, lite0: Path, tmp_path: Path) -> None:
    build_driver(tmp_path)
    driver = {"LD_LIBRARY_PATH": str(tmp_path), "STAND_IN_GPUS": "NVIDIA A100/8.0", "STAND_IN_CUDA": "12040"}
    done = gpu.run("torchless", "inspect", lite0, "--device", "cuda", code=4, **driver)
    assert re.fullmatch(
        r"error: cannot use cuda: the NVIDIA driver runs CUDA up to 12\.4, and onnxruntime-gpu \S+ is built for CUDA "
        r"13\.\d: update the driver \(580 or newer\), or install the build for CUDA 12: pip install "
        r"'torchless\[gpu-cuda12\]'\n",
        done.stderr,
    )


def test_what_the_wheel_holds(wheel: Path) -> None:
    """The two packages as they are in git, the licence, the metadata, and nothing else."""
    sources, names = tree(), set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if name.startswith("torchless-")}
    assert names - metadata == sources
    assert {name.partition("/")[2] for name in metadata} == {
        "METADATA",
        "RECORD",
        "WHEEL",
        "entry_points.txt",
        "licenses/LICENSE",
    }
    endings = {".py", ".typed", ".html", ".js", ".css", ".jpg", ".jinja", ".md", ".descriptor", ".yaml"}
    assert {Path(name).suffix or Path(name).name for name in sources} == endings | {"LICENSE", "Containerfile"}
