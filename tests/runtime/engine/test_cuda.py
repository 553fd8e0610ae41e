"""What NVIDIA's driver says, and what follows for the build of ONNX Runtime; the driver is compiled for these tests."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import onnxruntime
import pytest

from torchless.engine import cuda
from torchless.engine.session import open_session
from torchless.errors import DeviceError
from torchless.model.onnxfile import read_onnx

Install = Callable[..., None]
V100, T4, H100, B200 = "Tesla V100/7.0", "Tesla T4/7.5", "NVIDIA H100/9.0", "NVIDIA B200/10.0"


@pytest.fixture
def built_for(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """A function that makes the installed onnxruntime one for that CUDA, as far as it says."""

    def make(version: str) -> None:
        monkeypatch.setattr(
            onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"]
        )
        monkeypatch.setattr(onnxruntime, "cuda_version", version, raising=False)
        monkeypatch.setattr(cuda, "load_libraries", lambda ort: "")

    return make


def refused(tiny: Path, device: str = "cuda") -> str:
    with pytest.raises(DeviceError) as caught:
        open_session(read_onnx(tiny), device=device)
    assert str(caught.value).startswith(f"cannot use {device}: ")
    return str(caught.value).partition(": ")[2]


def test_no_driver(tiny: Path, built_for, monkeypatch: pytest.MonkeyPatch) -> None:
    built_for("13.0")
    monkeypatch.setattr(cuda, "_LIBRARY", "libcuda-that-is-not-there.so.1")
    assert refused(tiny).startswith("no NVIDIA driver is installed (libcuda.so.1 is not there)")
    assert cuda.extra_here() == "cpu"


@pytest.mark.parametrize(
    ("gpus", "status", "said"),
    [
        ((), 0, "the NVIDIA driver sees no GPU; check with: nvidia-smi"),
        ((), 100, "the NVIDIA driver sees no GPU; check with: nvidia-smi"),
        ((H100,), 2, "the NVIDIA driver has no memory left; see what uses it with: nvidia-smi"),
        ((H100,), 803, "the NVIDIA driver reports error 803 and no usable GPU"),
    ],
)
def test_a_driver_without_a_usable_gpu(
    tiny: Path, built_for, nvidia_driver: Install, gpus: tuple[str, ...], status: int, said: str
) -> None:
    built_for("13.0")
    nvidia_driver(*gpus, status=status)
    assert refused(tiny).startswith(said)


def test_a_number_that_no_gpu_has(tiny: Path, built_for, nvidia_driver: Install) -> None:
    built_for("13.0")
    nvidia_driver(H100, T4)
    assert refused(tiny, "cuda:2") == "there is no GPU number 2: the driver sees 2, counted from 0"
    assert cuda.driver_problem(1) is None


def test_a_driver_older_than_the_wheels_cuda(tiny: Path, built_for, nvidia_driver: Install) -> None:
    built_for("13.0")
    nvidia_driver(H100, cuda="12.4")
    version = onnxruntime.__version__
    assert refused(tiny) == (
        f"the NVIDIA driver runs CUDA up to 12.4, and onnxruntime-gpu {version} is built for CUDA 13.0: update the "
        "driver (580 or newer), or install the build for CUDA 12: pip install 'torchless[gpu-cuda12]'"
    )
    nvidia_driver(H100, cuda="11.8")
    assert refused(tiny).endswith("update the driver (580 or newer)")


def test_a_gpu_older_than_the_wheels_cuda(tiny: Path, built_for, nvidia_driver: Install) -> None:
    built_for("13.0")
    nvidia_driver(H100, V100)
    assert refused(tiny, "cuda:1") == (
        "GPU number 1 (Tesla V100, compute capability 7.0) is too old: onnxruntime-gpu "
        f"{onnxruntime.__version__} is built for CUDA 13.0, which needs 7.5 or newer; install the build for CUDA 12: "
        "pip install 'torchless[gpu-cuda12]'"
    )
    nvidia_driver("Tesla K80/3.7")
    assert refused(tiny).endswith("; no build of ONNX Runtime runs on it any more")
    built_for("12.8")
    nvidia_driver(V100)
    assert cuda.problem_of(onnxruntime, 0) is None


@pytest.mark.parametrize(
    ("gpu", "version", "extra"),
    [
        (H100, "13.0", "torchless[gpu]"),
        (T4, "13.2", "torchless[gpu]"),
        (V100, "13.0", "torchless[gpu-cuda12]"),
        (H100, "12.2", "torchless[gpu-cuda12]"),
        (B200, "13.0", "torchless[gpu-cuda12]"),
        ("NVIDIA RTX 5090/12.0", "13.0", "torchless[gpu]"),
    ],
)
def test_the_extra_that_fits(nvidia_driver: Install, gpu: str, version: str, extra: str) -> None:
    nvidia_driver(gpu, cuda=version)
    assert cuda.fitting_extra() == extra
    assert f"torchless[{cuda.extra_here()}]" == extra
    for_cpus = SimpleNamespace(__version__="1.32.0", get_available_providers=lambda: ["CPUExecutionProvider"])
    assert str(cuda.wheel_problem(for_cpus)).endswith(f"pip uninstall onnxruntime && pip install '{extra}'")


@pytest.mark.parametrize(
    ("free_mb", "said"), [(200, "is full: 0.2 of 80.0 GB are free; see what"), (None, "is full; see what")]
)
def test_a_gpu_whose_memory_is_full(
    tiny: Path, built_for, nvidia_driver: Install, monkeypatch: pytest.MonkeyPatch, free_mb: int | None, said: str
) -> None:
    built_for("13.0")
    nvidia_driver(H100, free_mb=free_mb)
    real = onnxruntime.InferenceSession

    def create(path: str, options: object, providers: list, **more: object) -> object:
        if "CUDAExecutionProvider" in str(providers):
            raise RuntimeError("CUDA failure 2: out of memory ; GPU=0 ; hostname=box")
        return real(path, options, providers=providers, **more)

    monkeypatch.setattr(onnxruntime, "InferenceSession", create)
    assert refused(tiny).startswith(f"the memory of GPU number 0 {said}")


def test_a_build_that_does_not_say_its_cuda_is_tried(nvidia_driver: Install, built_for) -> None:
    built_for("")
    nvidia_driver(V100, cuda="12.4")
    assert cuda.problem_of(onnxruntime, 0) is None
