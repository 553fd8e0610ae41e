"""What a measurement is valid for: the machine and the versions."""

import os
import platform
import shutil
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from torchless.codec import encode
from torchless.cpuinfo import features, gigahertz, instruction_sets, processor_name, revision
from torchless.cpus import available_cpus
from torchless.engine.loading import import_onnxruntime
from torchless.records import dataclass

# Everything that a forward pass and its preprocessing depend on.
_MEASURED = ("python", "onnxruntime", "torchless", "numpy", "pillow")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """The fingerprint of a machine: figures belong together only if all of it is equal.

    The processor with its revision, how many of them this process may use, their frequency in GHz, the memory in GB
    (10⁹ bytes), the system, the GPU if one was measured, and those features of the processor that matter to networks.
    `features` is None where they were not recorded, and None stands for what the system does not tell.
    """

    processor: str
    cpus: int
    memory_gb: int | None
    system: str
    gpu: str | None
    revision: str | None = None
    ghz: float | None = None
    features: tuple[str, ...] | None = None

    def __str__(self) -> str:
        """One line for people."""
        parts = [
            self.processor + (f" ({self.revision})" if self.revision else ""),
            f"{self.cpus} processor{'s' * (self.cpus != 1)}" + (f" of {self.ghz:g} GHz" if self.ghz else ""),
            f"{self.memory_gb} GB" if self.memory_gb else "",
            self.system,
            self.gpu or "",
            " ".join(instruction_sets(self.features or ())),
        ]
        unknown = {"memory": self.memory_gb, "frequency": self.ghz, "instruction sets": self.features}
        missing = [name for name, value in unknown.items() if value is None] if self.features is None else []
        return ", ".join(filter(None, parts)) + (f" ({', '.join(missing)}: not recorded)" if missing else "")


def machine(*, gpu: bool = False) -> Machine:
    """The machine this runs on; `gpu` says whether its GPU is measured."""
    return Machine(
        processor=processor_name(),
        revision=revision(),
        cpus=available_cpus(),
        ghz=gigahertz(),
        memory_gb=_memory_gb(),
        system=f"{platform.system()} {platform.machine()}",
        gpu=_gpu() if gpu else None,
        features=features(),
    )


def here() -> dict[str, Any]:
    """The machine and the day (UTC), as every file of figures has them."""
    return {"date": datetime.now(UTC).date().isoformat(), "machine": encode(machine())}


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


def _memory_gb() -> int | None:
    if not hasattr(os, "sysconf"):  # Windows
        return None
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)


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
