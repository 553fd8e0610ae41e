"""Whether this machine has an NVIDIA GPU that ONNX Runtime can use, and what is missing if not.

ONNX Runtime itself does not say: it lists the CUDA provider wherever its GPU wheel is installed, and if the provider
fails to load, it still creates the session, on the CPU (docs/devices.md).
"""

import contextlib
import ctypes
import io
from typing import Any

_GPU_EXTRA = "pip uninstall onnxruntime && pip install 'torchless[gpu]'"


def driver_problem(index: int) -> str | None:
    """Why GPU number `index` cannot be reached through NVIDIA's driver; None if it can. Asks only the driver, in
    milliseconds.
    """
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver is installed (libcuda.so.1 is not there); check with: nvidia-smi"
    status, count = driver.cuInit(0), ctypes.c_int(0)
    if status == 0:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    if status != 0:
        return f"the NVIDIA driver reports error {status} and no usable GPU; check with: nvidia-smi"
    if index >= count.value:
        return f"there is no GPU number {index}: the driver sees {count.value}, counted from 0"
    return None


def wheel_problem(ort: Any) -> str | None:
    """Why the installed onnxruntime cannot use CUDA at all; None if it was built with it."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        return None
    return f"the installed onnxruntime {ort.__version__} is the build for CPUs; install the other one: {_GPU_EXTRA}"


def load_libraries(ort: Any) -> str:
    """Loads the CUDA and cuDNN libraries that pip installed beside onnxruntime. Returns its messages about missing
    ones.
    """
    if not hasattr(ort, "preload_dlls"):  # new in onnxruntime 1.21
        return ""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        ort.preload_dlls()
    return "; ".join(line for line in said.getvalue().splitlines() if line.startswith("Failed"))


def libraries_problem(missing: str) -> str:
    """The message for a GPU wheel whose CUDA provider does not load."""
    return (
        "ONNX Runtime's CUDA provider did not load: CUDA or cuDNN libraries are missing or do not match"
        f"{f' ({missing})' if missing else ''}; install them with: pip install 'torchless[gpu]'"
    )
