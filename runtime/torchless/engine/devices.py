"""The devices that can be asked for, by name, and what ONNX Runtime calls what runs on them."""

import platform
import re

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
    "coreml": Kind("CoreMLExecutionProvider", "macOS only: pip install 'torchless[cpu]'"),
    "directml": Kind(
        "DmlExecutionProvider", "Windows only: pip uninstall onnxruntime && pip install onnxruntime-directml"
    ),
    "migraphx": Kind("MIGraphXExecutionProvider", "pip uninstall onnxruntime && pip install onnxruntime-migraphx"),
}

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


def is_cpu(device: str) -> bool:
    """Whether what a session really runs on is the CPU, in whatever precision."""
    return device.partition(",")[0] == "cpu"


def bf16_problem() -> str | None:
    """Why ONNX Runtime cannot multiply in bfloat16 here; it says nothing itself, and goes on in float32."""
    machine = platform.machine()
    if machine.lower() in ("aarch64", "arm64"):
        return None
    return f"ONNX Runtime multiplies float32 networks in bfloat16 on processors of ARM alone, and this is {machine}"
