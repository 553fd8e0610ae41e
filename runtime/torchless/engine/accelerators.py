"""How ONNX Runtime is told to use another device than the CPU: a provider that it was built with, or a plug-in."""

import json
import os
from dataclasses import field
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from torchless.engine import cuda
from torchless.engine.devices import KINDS, Device, install_of, machine_problem
from torchless.errors import first_line
from torchless.forking import Locks
from torchless.records import dataclass

_CPU = "CPUExecutionProvider"
# A plug-in is a package of that name, with the functions get_library_path and get_ep_name.
_PLUGIN = "onnxruntime_ep_{}"
_registering, _registered = Locks(), set[str]()


@dataclass(frozen=True)
class Placement:
    """What a session is made with: `providers` that this build has, or the `plugged` devices of a plug-in and their
    `options`. `missing` has libraries that could not be loaded.
    """

    providers: list[Any] | None
    plugged: list[Any] = field(default_factory=list)
    options: dict[str, str] = field(default_factory=dict)
    missing: str = ""

    def prepare(self, options: Any) -> None:
        """Sets what a session's options must hold."""
        if self.plugged:
            options.add_provider_for_devices(self.plugged, self.options)
        elif self.providers and self.providers[0][0] == KINDS["directml"].provider:
            options.enable_mem_pattern = False  # which it refuses


def place(ort: Any, device: Device, *, threads: int, max_gpu_bytes: int | None) -> Placement | str:
    """How a session gets onto `device`, or why it cannot."""
    if device.kind == "openvino":
        return _openvino(ort, device, threads)
    if device.is_nvidia:
        return _nvidia(ort, device, max_gpu_bytes)
    options = {
        # Its Neural Engine computes in float16; the GPU and the processor don't.
        "coreml": {"ModelFormat": "MLProgram", "MLComputeUnits": "CPUAndGPU"},
        "directml": {"device_id": str(device.index)},
        "migraphx": {"device_id": str(device.index), "migraphx_fp16_enable": "0"},
    }[device.kind]
    return _offered(ort, device, options, options)


def library_problem(ort: Any, device: Device, placement: Placement) -> str:
    """Why a session that was made does not have the provider it was made with."""
    if device.kind == "cuda":
        return cuda.libraries_problem(ort, placement.missing)
    return (
        f"ONNX Runtime's {KINDS[device.kind].provider} did not load: a library that it needs is missing or does not "
        f"match{f' ({placement.missing})' if placement.missing else ''}"
    )


def failure(device: Device, error: Exception) -> str:
    """Why a session could not be made that can be made on the CPU."""
    said = first_line(error)
    full = cuda.memory_problem(device.index, str(error)) if device.is_nvidia else None
    return full or f"ONNX Runtime cannot use {'the GPU' if device.is_nvidia else 'it'}: {said}"


def _nvidia(ort: Any, device: Device, max_gpu_bytes: int | None) -> Placement | str:
    problem = cuda.problem_of(ort, device.index)
    if problem is not None:
        return problem
    missing = cuda.load_libraries(ort)
    # A heuristic search avoids trying every algorithm for each new shape.
    options = {
        "device_id": str(device.index), "use_tf32": str(int(device.tf32)), "cudnn_conv_algo_search": "HEURISTIC",
    }  # fmt: skip
    if max_gpu_bytes is not None:
        options["gpu_mem_limit"] = str(max_gpu_bytes)
    on_cuda = [("CUDAExecutionProvider", options), _CPU]
    if device.kind == "cuda":
        return Placement(on_cuda, missing=missing)
    os.environ.setdefault("NVIDIA_TF32_OVERRIDE", "0")  # TensorRT uses it by default, and ONNX Runtime has no option
    own = {"device_id": str(device.index), "trt_fp16_enable": "0"}
    placement = _offered(ort, device, own, own)
    if isinstance(placement, str) or placement.providers is None:
        return placement
    return Placement([placement.providers[0], *on_cuda], missing=missing)


def _openvino(ort: Any, device: Device, threads: int) -> Placement | str:
    """OpenVINO computes in bfloat16 or float16 where it likes to: float32 is asked for. The plug-in passes over what
    the older build takes.
    """
    part = device.part.upper()
    built_in = {"device_type": part, "precision": "FP32", "num_of_threads": str(threads)}
    config = {"INFERENCE_PRECISION_HINT": "f32"} if part != "NPU" else {}
    threading = {"INFERENCE_NUM_THREADS": str(threads)} if part == "CPU" else {}
    plug_in = {"load_config": json.dumps({part: config | threading})} if config else {}
    return _offered(ort, device, built_in, plug_in)


def plugin_of(kind: str) -> str | None:
    """The installed module of the plug-in for that kind of device, if there is one."""
    module = _PLUGIN.format(kind)
    return module if find_spec(module) is not None else None


def _offered(ort: Any, device: Device, built_in: dict[str, str], plug_in: dict[str, str]) -> Placement | str:
    """With the options for a provider of this build, or for a plug-in."""
    kind, module = KINDS[device.kind], plugin_of(device.kind)
    if device.kind not in _registered and kind.provider in ort.get_available_providers():
        return Placement([(kind.provider, built_in), _CPU])
    if module is None:
        return machine_problem(device) or (
            f"the installed onnxruntime {ort.__version__} has no {kind.provider}; install one that has: "
            f"{install_of(device)}"
        )
    if not hasattr(ort, "register_execution_provider_library"):
        return (
            f"onnxruntime {ort.__version__} takes no plug-ins; install a newer one: pip install --upgrade onnxruntime"
        )
    try:
        found = _plugged(ort, device, import_module(module))
    except Exception as error:  # the plug-in's or ONNX Runtime's, which share no base class
        return f"the plug-in {module} does not load: {first_line(error)}"
    if not found:
        instead = (
            "; it takes Intel's alone, where the older build takes others too: "
            "pip uninstall onnxruntime onnxruntime-ep-openvino && pip install onnxruntime-openvino"
        )
        return f"the plug-in {module} finds no {device} on this machine{instead * (device.kind == 'openvino')}"
    return Placement(None, [found], plug_in)


def _plugged(ort: Any, device: Device, module: Any) -> Any | None:
    """The device of a plug-in, which is registered the first time."""
    with _registering.of(None):
        if device.kind not in _registered:
            ort.register_execution_provider_library(module.get_ep_name(), module.get_library_path())
            _registered.add(device.kind)
    offered = [one for one in ort.get_ep_devices() if one.ep_name == module.get_ep_name()]
    if device.part:
        offered = [one for one in offered if one.device.type.name == device.part.upper()]
    return offered[device.index] if device.index < len(offered) else None
