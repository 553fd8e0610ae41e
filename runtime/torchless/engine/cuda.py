"""Whether this machine has an NVIDIA GPU that ONNX Runtime can use, and what is missing if not.

ONNX Runtime itself does not say: it lists the CUDA provider wherever its GPU wheel is installed, and if the provider
fails to load, it still creates the session, on the CPU (docs/devices.md).
"""

import contextlib
import ctypes
import io
from typing import Any

from torchless.records import dataclass

_LIBRARY = "libcuda.so.1"
_OUT_OF_MEMORY, _NO_DEVICE = 2, 100  # of CUresult
_MAJOR, _MINOR = 75, 76  # of CUdevice_attribute: COMPUTE_CAPABILITY_MAJOR and _MINOR


@dataclass(frozen=True)
class Extra:
    """One of our extras for NVIDIA GPUs: the CUDA of its wheel, the oldest driver, the compute capability of the
    oldest GPU, and major ones that it has no code for.
    """

    name: str
    cuda: int
    driver: str
    capability: tuple[int, int]
    without: tuple[int, ...] = ()

    def fits(self, cuda: tuple[int, int], capability: tuple[int, int]) -> bool:
        return self.cuda <= cuda[0] and self.capability <= capability and capability[0] not in self.without


# The newest first. A wheel runs with every driver of its CUDA's major version or a later one. The GPUs are those that
# the wheels hold code for: 1.31.1 for 7.5, 8.0, 8.6, 8.9, 9.0 and 12.0; 1.26.0 for 6.0 to 9.0, and PTX for later ones.
EXTRAS = (Extra("gpu", 13, "580", (7, 5), without=(10, 11)), Extra("gpu-cuda12", 12, "525", (6, 0)))


@dataclass(frozen=True)
class Gpu:
    """`capability` is NVIDIA's compute capability."""

    name: str
    capability: tuple[int, int]

    def __str__(self) -> str:
        return f"{self.name}, compute capability {_text(self.capability)}"


@dataclass(frozen=True)
class Driver:
    """What NVIDIA's driver says: the newest CUDA that it runs, and the GPUs in its order."""

    cuda: tuple[int, int]
    gpus: tuple[Gpu, ...]

    def extra_for(self, index: int = 0) -> Extra | None:
        """The extra that fits this driver and GPU number `index`, if one does."""
        capability = self.gpus[index].capability if index < len(self.gpus) else (0, 0)
        return next((one for one in EXTRAS if one.fits(self.cuda, capability)), None)


def read_driver() -> Driver | str:
    """The driver, asked in milliseconds; or why it cannot be used."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError:
        return "no NVIDIA driver is installed (libcuda.so.1 is not there); check with: nvidia-smi"
    status, version, count = library.cuInit(0), ctypes.c_int(0), ctypes.c_int(0)
    if status == 0:
        status = library.cuDriverGetVersion(ctypes.byref(version)) or library.cuDeviceGetCount(ctypes.byref(count))
    if status == _NO_DEVICE or (status == 0 and count.value == 0):
        return "the NVIDIA driver sees no GPU; check with: nvidia-smi (in a container: was it started with GPUs?)"
    if status == _OUT_OF_MEMORY:
        return "the NVIDIA driver has no memory left; see what uses it with: nvidia-smi"
    if status != 0:
        return f"the NVIDIA driver reports error {status} and no usable GPU; check with: nvidia-smi"
    return Driver(
        (version.value // 1000, version.value % 1000 // 10), tuple(_gpu(library, each) for each in range(count.value))
    )


def _gpu(library: ctypes.CDLL, number: int) -> Gpu:
    device, major, minor = ctypes.c_int(0), ctypes.c_int(0), ctypes.c_int(0)
    name = ctypes.create_string_buffer(256)
    library.cuDeviceGet(ctypes.byref(device), number)
    library.cuDeviceGetName(name, len(name), device)
    library.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device)
    library.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device)
    return Gpu(name.value.decode(errors="replace"), (major.value, minor.value))


def problem_of(ort: Any, index: int) -> str | None:
    """Why the installed onnxruntime cannot use GPU number `index`, as far as can be told without trying."""
    return driver_problem(index) or wheel_problem(ort) or age_problem(ort, index)


def driver_problem(index: int) -> str | None:
    """Why GPU number `index` cannot be reached through NVIDIA's driver; None if it can."""
    driver = read_driver()
    if isinstance(driver, str):
        return driver
    if index >= len(driver.gpus):
        return f"there is no GPU number {index}: the driver sees {len(driver.gpus)}, counted from 0"
    return None


def age_problem(ort: Any, index: int) -> str | None:
    """A driver older than the wheel's CUDA, or a GPU older than that CUDA supports; None where nothing says so."""
    driver, built = read_driver(), wheel_cuda(ort)
    if isinstance(driver, str) or built is None:
        return None
    fits, wheel = driver.extra_for(index), f"onnxruntime-gpu {ort.__version__} is built for CUDA {_text(built)}"
    needed = next((one for one in EXTRAS if one.cuda == built[0]), None)
    instead = f"install the build for CUDA {fits.cuda}: pip install 'torchless[{fits.name}]'" if fits else ""
    if driver.cuda[0] < built[0]:
        newer = f"update the driver{f' ({needed.driver} or newer)' if needed else ''}"
        return (
            f"the NVIDIA driver runs CUDA up to {_text(driver.cuda)}, and {wheel}: {newer}{', or ' * bool(fits)}"
            f"{instead}"
        )
    gpu = driver.gpus[index]
    if needed is not None and gpu.capability < needed.capability:
        oldest = f"GPU number {index} ({gpu}) is too old: {wheel}, which needs {_text(needed.capability)} or newer"
        return f"{oldest}; {instead or 'no build of ONNX Runtime runs on it any more'}"
    return None


def wheel_cuda(ort: Any) -> tuple[int, int] | None:
    """The CUDA that the installed onnxruntime was built with; None for a build without, or one that does not say."""
    major, _, rest = str(getattr(ort, "cuda_version", "") or "").partition(".")
    minor = rest.partition(".")[0]
    return (int(major), int(minor) if minor.isdigit() else 0) if major.isdigit() else None


def fitting_extra(index: int = 0) -> str:
    """The extra that fits the driver and the GPU of this machine; the newest where they cannot be asked."""
    driver = read_driver()
    fits = None if isinstance(driver, str) else driver.extra_for(index)
    return f"torchless[{(fits or EXTRAS[0]).name}]"


def extra_of(ort: Any) -> str:
    """The extra that the installed wheel belongs to, with the libraries it needs."""
    built = wheel_cuda(ort)
    own = next((one for one in EXTRAS if built is not None and one.cuda == built[0]), EXTRAS[0])
    return f"torchless[{own.name}]"


def summary(ort: Any) -> str:
    """What the driver and the wheel are, to be put behind what a GPU does; "" if they do not say."""
    driver, built = read_driver(), wheel_cuda(ort)
    if isinstance(driver, str) or built is None:
        return ""
    return f"; {driver.gpus[0]}; its driver runs CUDA up to {_text(driver.cuda)}, the wheel is built for {_text(built)}"


def extra_here() -> str:
    """The extra that this machine needs: that of the first GPU, "cpu" where none can be used. For the Makefile."""
    driver = read_driver()
    fits = None if isinstance(driver, str) else driver.extra_for()
    return fits.name if fits else "cpu"


def wheel_problem(ort: Any) -> str | None:
    """Why the installed onnxruntime cannot use CUDA at all; None if it was built with it."""
    if "CUDAExecutionProvider" in ort.get_available_providers():
        return None
    return (
        f"the installed onnxruntime {ort.__version__} is the build for CPUs; install the other one: "
        f"pip uninstall onnxruntime && pip install '{fitting_extra()}'"
    )


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


def libraries_problem(ort: Any, missing: str) -> str:
    """The message for a GPU wheel whose CUDA provider does not load."""
    return (
        "ONNX Runtime's CUDA provider did not load: CUDA or cuDNN libraries are missing or do not match"
        f"{f' ({missing})' if missing else ''}; install them with: pip install '{extra_of(ort)}'"
    )


def memory_problem(index: int, said: str) -> str | None:
    """Why ONNX Runtime failed with the message `said`, if the GPU's memory was full; None otherwise."""
    if not any(word in said.lower() for word in ("out of memory", "failed to allocate memory", "alloc_failed")):
        return None
    left = _memory_left(index)
    return (
        f"the memory of GPU number {index} is full{f': {left}' if left else ''}; see what uses it with: nvidia-smi, or "
        "take smaller batches"
    )


def _memory_left(index: int) -> str:
    """Such as "0.2 of 79.2 GB are free"; "" if the driver does not say, as when not even that fits."""
    library, context, device = ctypes.CDLL(_LIBRARY), ctypes.c_void_p(), ctypes.c_int(0)
    library.cuDeviceGet(ctypes.byref(device), index)
    if library.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) != 0:
        return ""
    free, total = ctypes.c_size_t(0), ctypes.c_size_t(0)
    try:
        if library.cuCtxPushCurrent_v2(context) or library.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)):
            return ""
        library.cuCtxPopCurrent_v2(ctypes.byref(context))
        return f"{free.value / 1e9:.1f} of {total.value / 1e9:.1f} GB are free"
    finally:
        library.cuDevicePrimaryCtxRelease_v2(device)


def _text(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"
