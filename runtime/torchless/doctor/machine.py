"""What a measurement is valid for: the machine and the versions."""

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torchless.cpus import available_cpus
from torchless.engine.session import import_onnxruntime

CPUINFO = Path("/proc/cpuinfo")
# Those that decide how fast a network runs, or in which order and precision it adds up; by their names in Linux.
_FEATURES = (
    "sse4_1", "fma", "f16c", "avx", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512vl", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_tile", "amx_int8", "amx_bf16", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2",
)  # fmt: skip
# Everything that a forward pass and its preprocessing depend on.
_MEASURED = ("python", "onnxruntime", "torchless", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The processor, how many of them this process may use, the memory in GB (10⁹ bytes), the system, the GPU if one
    was measured, and those features of the processor that matter to networks.
    """

    processor: str
    cpus: int
    memory_gb: int
    system: str
    gpu: str | None
    features: tuple[str, ...] = ()


def machine(*, gpu: bool = False) -> Machine:
    """The machine this runs on; `gpu` says whether its GPU is measured."""
    return Machine(
        processor=_processor(),
        cpus=available_cpus(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        system=f"{platform.system()} {platform.machine()}",
        gpu=_gpu() if gpu else None,
        features=features(),
    )


def features(cpuinfo: Path = CPUINFO) -> tuple[str, ...]:
    """Features such as avx2 and avx512_vnni; empty if the system does not list them."""
    told = {word for text in _told(cpuinfo, "flags", "Features") for word in text.split()}
    return tuple(name for name in _FEATURES if name in told)


def versions(*packages: str) -> dict[str, str]:
    """The version of each package; `python` is Python itself, and `onnxruntime` has one version, whichever wheel it
    comes from.

    By default all that a forward pass and its preprocessing depend on. Raises MissingDependencyError without ONNX
    Runtime.
    """
    return {name: _version(name) for name in packages or _MEASURED}


def _version(package: str) -> str:
    if package == "python":
        return platform.python_version()
    return str(import_onnxruntime().__version__) if package == "onnxruntime" else version(package)


def _processor() -> str:
    return next(_told(CPUINFO, "model name", "Model"), platform.processor() or platform.machine())


def _told(cpuinfo: Path, *keys: str) -> Iterator[str]:
    """What the kernel says under one of the keys, for each processor in turn."""
    try:
        lines = cpuinfo.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() in keys:
            yield value.strip()


def _gpu() -> str:
    """NVIDIA's names of the GPUs, from nvidia-smi, which comes with the driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown NVIDIA GPU"
    asked = subprocess.run(
        [program, "--query-gpu=name,driver_version", "--format=csv,noheader"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "; ".join(asked.stdout.split("\n")).strip("; ") or "unknown NVIDIA GPU"
