"""The devices that can be asked for, by name, and what ONNX Runtime calls what runs on them."""

import platform
import re
from pathlib import Path

from torchless.errors import UsageError
from torchless.records import dataclass

DEVICES = "auto, cpu, cuda, tensorrt, openvino, coreml, directml or migraphx"


@dataclass(frozen=True)
class Kind:
    """`provider` is ONNX Runtime's name for it; `install` says which package of pip brings it."""

    provider: str
    install: str


KINDS = {
    "cuda": Kind("CUDAExecutionProvider", "pip uninstall onnxruntime && pip install 'torchless[gpu]'"),
    "tensorrt": Kind("TensorrtExecutionProvider", "pip uninstall onnxruntime && pip install 'torchless[gpu]' tensorrt"),
    "openvino": Kind("OpenVINOExecutionProvider", "pip install onnxruntime-ep-openvino"),
    "coreml": Kind("CoreMLExecutionProvider", "pip install 'torchless[cpu]'"),
    "directml": Kind("DmlExecutionProvider", "pip uninstall onnxruntime && pip install onnxruntime-directml"),
    "migraphx": Kind("MIGraphXExecutionProvider", "pip uninstall onnxruntime && pip install onnxruntime-migraphx"),
}

_AMD_GPUS = Path("/dev/kfd")
_NAME = re.compile(
    r"(?:(?P<alone>auto|cpu|coreml)|(?P<numbered>cuda|tensorrt|directml|migraphx)(?::(?P<index>\d{1,4}))?"
    r"|openvino(?::(?P<part>cpu|gpu|npu))?)(?:,(?P<less>tf32|bf16))?"
)


@dataclass(frozen=True)
class Device:
    """A device that was asked for. `kind` is "auto", "cpu" or one of KINDS; `index` counts GPUs; `part` is what
    OpenVINO runs on, "cpu", "gpu" or "npu"; `tf32` lets a GPU round the inputs of products to 10 bits of mantissa,
    `bf16` a processor of ARM to 7.
    """

    kind: str
    index: int = 0
    part: str = ""
    tf32: bool = False
    bf16: bool = False

    @property
    def is_nvidia(self) -> bool:
        return self.kind in ("cuda", "tensorrt")

    @property
    def gpus(self) -> int:
        """How many it takes, as schedulers count them."""
        return int(self.is_nvidia or self.kind == "migraphx")

    def __str__(self) -> str:
        """In full, as it is shown: "cuda:0", "openvino:cpu", "cuda:1,tf32", "cpu,bf16"."""
        place = {"auto": "", "cpu": "", "coreml": "", "openvino": f":{self.part}"}.get(self.kind, f":{self.index}")
        return f"{self.kind}{place}{',tf32' * self.tf32}{',bf16' * self.bf16}"


def parse_device(text: str) -> Device:
    """The device of that name: "cuda", "cuda:1", "openvino:gpu"… (docs/devices.md). Raises UsageError."""
    match = _NAME.fullmatch(text)
    if match is None:
        raise UsageError(f"unknown device {text!r}; use {DEVICES}; cuda:1 is the second GPU (docs/devices.md)")
    kind = match["alone"] or match["numbered"] or "openvino"
    tf32, bf16 = match["less"] == "tf32", match["less"] == "bf16"
    if tf32 and kind != "cuda":
        raise UsageError(f"{text!r}: only cuda takes tf32, as in cuda,tf32 or cuda:1,tf32")
    if bf16 and kind != "cpu":
        raise UsageError(f"{text!r}: only cpu takes bf16, as in cpu,bf16")
    part = match["part"] or "cpu" if kind == "openvino" else ""
    return Device(kind, int(match["index"] or 0), part, tf32, bf16)


def machine_problem(device: Device) -> str | None:
    """Why no package that pip installs brings `device` to this machine; None where nothing says so."""
    system = platform.system()
    if device.kind == "coreml" and system != "Darwin":
        return f"CoreML is a part of macOS, and this is {system}"
    if device.kind == "directml" and system != "Windows":
        return f"DirectML is a part of Windows, and this is {system}"
    if device.kind == "migraphx" and not _AMD_GPUS.exists():
        return f"no AMD GPU can be used here: no driver of ROCm is loaded ({_AMD_GPUS} is not there)"
    return None


def install_of(device: Device) -> str:
    """The command that brings the provider. OpenVINO's plug-in takes Intel's processors alone, the older build any."""
    from torchless.cpuinfo import is_of_intel  # only a device that cannot be had needs it

    if device.kind == "openvino" and device.part == "cpu" and not is_of_intel():
        return "pip uninstall onnxruntime && pip install onnxruntime-openvino (its newer plug-in takes Intel's alone)"
    return KINDS[device.kind].install


def is_cpu(device: str) -> bool:
    """Whether what a session really runs on is the CPU, in whatever precision."""
    return device.partition(",")[0] == "cpu"


def bf16_problem() -> str | None:
    """Why ONNX Runtime cannot multiply in bfloat16 here; it says nothing itself, and goes on in float32."""
    machine = platform.machine()
    if machine.lower() in ("aarch64", "arm64"):
        return None
    return f"ONNX Runtime multiplies float32 networks in bfloat16 on processors of ARM alone, and this is {machine}"
