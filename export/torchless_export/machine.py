"""What a measurement holds for: the machine and the versions it was made with."""

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from torchless.cpus import available_cpus
from torchless.engine.session import import_onnxruntime


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The processor, how many of them this process may use, the memory in GB (10⁹ bytes), the system; and the GPU, if one was measured."""

    processor: str
    cpus: int
    memory_gb: int
    system: str
    gpu: str | None


def machine(*, gpu: bool) -> Machine:
    """The one this runs on; `gpu` says whether its GPU is measured."""
    return Machine(
        processor=_processor(),
        cpus=available_cpus(),
        memory_gb=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9),
        system=f"{platform.system()} {platform.machine()}",
        gpu=_gpu() if gpu else None,
    )


def versions() -> dict[str, str]:
    """Of Python and of all that a forward pass and its preprocessing depend on."""
    found = {name: version(name) for name in ("torchless", "numpy", "pillow")}
    return {"python": platform.python_version(), "onnxruntime": import_onnxruntime().__version__} | found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model")))
    return next(names, platform.processor() or platform.machine())


def _gpu() -> str:
    """NVIDIA's name of the GPUs, as nvidia-smi, which comes with the driver, tells it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return "unknown NVIDIA GPU"
    asked = subprocess.run([program, "--query-gpu=name,driver_version", "--format=csv,noheader"], capture_output=True, text=True, check=False)
    return "; ".join(asked.stdout.split("\n")).strip("; ") or "unknown NVIDIA GPU"
