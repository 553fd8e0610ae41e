"""`torchless doctor` where each fault is really made, and the command it gives really mends it: in copies of installed
environments.
"""

import json
import shutil
from pathlib import Path

import onnx
import pytest
from tests.conftest import REPO
from tests.install.conftest import Environment

pytestmark = pytest.mark.slow

CONSTRAINED = {"PIP_CONSTRAINT": str(REPO / "constraints.txt"), "PIP_QUIET": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def examine(environment: Environment, *arguments: object, code: int = 0, **variables: str) -> dict[str, dict]:
    """What `doctor --json` finds: check → finding."""
    done = environment.run("python", "-m", "torchless", "doctor", "--json", *arguments, code=code, **variables)
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["well"] == (code == 0)
    return {finding["check"]: finding for finding in report["findings"]}


def problems(findings: dict[str, dict]) -> set[str]:
    return {check for check, finding in findings.items() if not finding["well"]}


def mend(environment: Environment, finding: dict) -> None:
    """Runs the command, which must be one for this very environment."""
    assert finding["fix"].startswith(str(environment.bin / "python"))
    environment.shell(finding["fix"], **CONSTRAINED)


def test_all_is_well(runtime: Environment, lite0: Path) -> None:
    done = runtime.run("torchless", "doctor", lite0)
    assert done.stdout.endswith("\nno problems found\n")
    assert "PROBLEM" not in done.stdout
    found = examine(runtime, lite0)
    assert list(found) == [
        "ONNX Runtime", "Pillow", "numpy", "image formats", "JPEG decoder", "fast decoding", "processors", "GPU",
        "model", "proof", "answers",
    ]  # fmt: skip
    assert {finding["fix"] for finding in found.values()} == {None}


def test_two_onnx_runtimes(gpu: Environment, tmp_path: Path) -> None:
    environment = gpu.copy(tmp_path)
    environment.run("python", "-m", "pip", "install", "--no-deps", "onnxruntime", **CONSTRAINED)
    found = examine(environment, code=2)
    assert problems(found) == {"ONNX Runtime"}
    assert (
        "onnxruntime and onnxruntime-gpu are both installed, and overwrite each other's files"
        in found["ONNX Runtime"]["message"]
    )
    environment.run("python", "-m", "pip", "uninstall", "--yes", "onnxruntime-gpu", **CONSTRAINED)  # what many then do
    half = examine(environment, code=2)["ONNX Runtime"]
    assert half["message"].startswith("onnxruntime 1.")
    assert "is damaged" in half["message"]
    assert (
        "cannot be imported (its files are not there)"
        in environment.run("python", "-m", "torchless", "infer", "x", "y", code=2).stderr
    )
    mend(environment, half)
    assert problems(examine(environment)) == set()


def test_the_command_against_two_onnx_runtimes(runtime: Environment, gpu: Environment, tmp_path: Path) -> None:
    """Of the second wheel what pip goes by is enough here: its dist-info."""
    environment = runtime.copy(tmp_path)
    (info,) = gpu.packages.glob("onnxruntime_gpu-*.dist-info")
    shutil.copytree(info, environment.packages / info.name)
    mend(environment, examine(environment, code=2)["ONNX Runtime"])
    assert problems(examine(environment)) == set()


def test_a_gpu_build_without_gpu_and_libraries(gpu: Environment) -> None:
    found = examine(gpu, code=4)
    assert problems(found) == {"GPU driver", "CUDA libraries"}
    assert "ONNX Runtime lists CUDA, but cannot use it: no NVIDIA driver is installed" in found["GPU driver"]["message"]
    assert found["GPU driver"]["fix"].endswith("-m pip install 'torchless[cpu]'")
    missing = found["CUDA libraries"]["message"].partition("not there: ")[2].split(", ")
    assert {"libcublas.so.13", "libcublasLt.so.13", "libcudnn.so.9"} <= set(missing)
    assert found["CUDA libraries"]["fix"].endswith("-m pip install 'torchless[gpu]'")


def test_pillow_without_webp(runtime: Environment, tmp_path: Path) -> None:
    """What a build without libwebp lacks: the module PIL._webp, on disk and in the list of installed files."""
    environment = runtime.copy(tmp_path)
    (module,) = environment.packages.glob("PIL/_webp*.so")
    module.unlink()
    found = examine(environment, code=2)
    assert problems(found) == {"Pillow"}
    assert f"PIL/{module.name}" in found["Pillow"]["message"]
    (record,) = environment.packages.glob("[pP]illow-*.dist-info/RECORD")
    kept = [line for line in record.read_text().splitlines(keepends=True) if "_webp" not in line]
    record.unlink()
    record.write_text("".join(kept))
    found = examine(environment, code=1)
    assert problems(found) == {"image formats"}
    assert "cannot read WEBP" in found["image formats"]["message"]
    mend(environment, found["image formats"])
    assert problems(examine(environment)) == set()


def test_pillow_without_libjpeg_turbo(runtime: Environment, tmp_path: Path) -> None:
    """The extension reports what it was built with; here it is made to report something else as Python starts."""
    environment = runtime.copy(tmp_path)
    (environment.packages / "built.pth").write_text("import PIL._imaging; PIL._imaging.HAVE_LIBJPEGTURBO = False\n")
    found = examine(environment, code=1)
    assert problems(found) == {"JPEG decoder"}
    assert "without libjpeg-turbo" in found["JPEG decoder"]["message"]
    assert "--only-binary :all: pillow==" in found["JPEG decoder"]["fix"]


def test_a_pillow_of_two_versions(runtime: Environment, tmp_path: Path) -> None:
    environment = runtime.copy(tmp_path)
    version = environment.packages / "PIL" / "_version.py"
    text = version.read_text()
    version.unlink()
    version.write_text(text.replace('__version__ = "', '__version__ = "9'))
    found = examine(environment, code=2)
    assert problems(found) == {"Pillow"}
    assert "is damaged: The _imaging extension was built for another version of Pillow" in found["Pillow"]["message"]


def test_more_threads_than_processors(runtime: Environment) -> None:
    found = examine(runtime, code=1, OMP_NUM_THREADS="640,2")
    assert problems(found) == {"processors"}
    assert "OMP_NUM_THREADS asks for 640 threads, but this process may use" in found["processors"]["message"]
    runtime.shell(f"{found['processors']['fix']}; {runtime.bin / 'torchless'} doctor", OMP_NUM_THREADS="640")


def newer(artifact: Path, path: Path, *, ir_version: int = 10, opset: int = 20) -> Path:
    """The same network, said to be of those versions; the seal is broken by that."""
    model = onnx.load(artifact)
    model.ir_version, model.opset_import[0].version = ir_version, opset
    onnx.save(model, path)
    return path


def test_an_onnx_runtime_that_is_too_old(oldest: Environment, lite0: Path, tmp_path: Path) -> None:
    environment = oldest.copy(tmp_path)
    ir = newer(lite0, tmp_path / "ir.onnx", ir_version=13)
    opset = newer(lite0, tmp_path / "opset.onnx", opset=25)
    for path, reads in ((ir, "IR version 10 at most"), (opset, "opset 21 at most")):
        found = examine(environment, path, code=3)
        assert problems(found) == {"model"}
        assert f"the installed onnxruntime is too old for {path}: it reads {reads}" in found["model"]["message"]
    mend(environment, found["model"])
    for path in (ir, opset):
        assert problems(examine(environment, path, code=3)) == {"proof"}
