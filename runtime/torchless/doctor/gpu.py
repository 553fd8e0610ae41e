"""Whether the devices that ONNX Runtime's build lists can really be used, and which libraries are missing, by name."""

import ctypes
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from torchless.doctor.findings import Finding, pip
from torchless.engine import cuda
from torchless.engine.accelerators import plugin_of
from torchless.engine.devices import KINDS
from torchless.engine.loading import import_onnxruntime
from torchless.engine.session import Session, open_session
from torchless.errors import DeviceError, TorchlessError
from torchless.model.onnxfile import read_onnx

_NO_DEVICE = DeviceError.exit_code
_DRIVER = "libcuda.so.1"
# ONNX Runtime opens it at the first convolution, so its CUDA provider does not list it. cuDNN 9 since ONNX Runtime
# 1.19.
_CUDNN = "libcudnn.so.9"
_PROVIDER = "capi/libonnxruntime_providers_cuda.so"
_TO_CPUS = f"{pip('uninstall', '--yes', 'onnxruntime-gpu')} && {pip('install', 'torchless[cpu]')}"
_ASKED_FOR = ("openvino", "migraphx", "directml")  # whoever installed such a package wants to use it

# An ONNX model of one node, Relu, float32 (1,) → (1,); IR version 8, opset 17.
_PROBE = bytes.fromhex(
    "08083a370a0c0a0178120179220452656c75120570726f62655a0f0a0178120a0a08080112040a020801620f0a0179120a0a"
    "08080112040a02080142040a001011"
)


def gpu_findings(model: Path | None = None) -> Iterator[Finding]:
    """Tries the devices out, with `model` if it can be read. Needs an onnxruntime that can be imported."""
    yield from _cuda_findings(model)
    ort = import_onnxruntime()
    for kind in _ASKED_FOR:
        if plugin_of(kind) is not None or KINDS[kind].provider in ort.get_available_providers():
            name = f"onnxruntime-ep-{kind}" if plugin_of(kind) is not None else f"onnxruntime-{kind}"
            yield _try_out(kind, model, fix=pip("uninstall", "--yes", name))


def _cuda_findings(model: Path | None) -> Iterator[Finding]:
    ort, driver = import_onnxruntime(), cuda.driver_problem(0)
    if cuda.wheel_problem(ort) is not None:
        better = (
            f", though there is an NVIDIA driver: {cuda.fitting_extra()} has the build that uses it (docs/devices.md)"
        )
        yield Finding(
            check="GPU", message=f"not used: this ONNX Runtime is the build for CPUs{'' if driver else better}"
        )
        return
    if driver is not None:
        yield _unusable(f"{driver}; where there is no GPU, take the build for CPUs", _TO_CPUS)
    elif (too_old := cuda.age_problem(ort, 0)) is not None:
        here = cuda.extra_here()
        yield _unusable(too_old, _TO_CPUS if here == "cpu" else pip("install", f"torchless[{here}]"))
        return
    cuda.load_libraries(ort)
    if missing := missing_libraries(Path(ort.__file__).parent / _PROVIDER):
        message = f"ONNX Runtime's CUDA provider needs libraries that are not there: {', '.join(missing)}"
        fix = pip("install", cuda.extra_of(ort))
        yield Finding(check="CUDA libraries", message=message, fix=fix, exit_code=_NO_DEVICE)
    elif driver is None:
        yield _try_out("cuda", model, fix=pip("install", "--upgrade", cuda.extra_of(ort)), about=cuda.summary(ort))


def _unusable(why: str, fix: str) -> Finding:
    message = f"ONNX Runtime lists CUDA, but cannot use it: {why}"
    return Finding(check="GPU driver", message=message, fix=fix, exit_code=_NO_DEVICE)


def missing_libraries(provider: Path) -> list[str]:
    """The libraries that `provider` is linked with, and cuDNN, if they cannot be opened; without the driver's own.

    Libraries that pip installed are only found after cuda.load_libraries has opened them. Empty without `ldd`.
    """
    try:
        listed = subprocess.run(["ldd", provider], capture_output=True, text=True, check=False).stdout
    except OSError:
        return []
    names = [line.split()[0] for line in listed.splitlines() if line.endswith("=> not found")]
    return [name for name in (*names, _CUDNN) if name != _DRIVER and not _opens(name)]


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _try_out(device: str, model: Path | None, *, fix: str, about: str = "") -> Finding:
    """If nothing is missing, a session shows whether the provider is used: even listed and loaded, it may fail."""
    check = "GPU" if device == "cuda" else device
    try:
        name, session = _session(device, model)
    except DeviceError as error:
        return Finding(check=check, message=str(error), fix=fix, exit_code=_NO_DEVICE)
    return Finding(check=check, message=f"{session.device} runs {name}, {session.assignment}{about}")


def _session(device: str, model: Path | None) -> tuple[str, Session]:
    """A session of the model, or of a small one where the model is at fault; and its name."""
    if model is not None:
        try:
            return model.name, open_session(read_onnx(model), device=device)
        except DeviceError:
            raise
        except TorchlessError:
            pass  # which the checks of the model say
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder, "probe.onnx")
        probe.write_bytes(_PROBE)
        return "a model", open_session(read_onnx(probe), device=device)
