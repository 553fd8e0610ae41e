"""How Triton's backend for ONNX Runtime is to run a model: threads, and what an artifact's answers depend on on a GPU.

What the backend reads was taken from its source (github.com/triton-inference-server/onnxruntime_backend,
src/onnxruntime.cc); tests/runtime/triton/test_execution.py says what was found there.
"""

from typing import Any

from torchless.cpus import available_cpus
from torchless.triton.interface import ANY, Interface
from torchless.triton.options import TritonOptions

Message = dict[str, Any]
_ALGORITHMS = {"EXHAUSTIVE": 0, "HEURISTIC": 1}  # the numbers that `parameters` has for them
_SEARCH = "HEURISTIC"  # as engine/session.py has it


def execution(interface: Interface, options: TritonOptions) -> Message:
    """The fields `optimization` and `parameters` of the configuration."""
    parameters = {"intra_op_thread_count": str(threads_of(options))}
    if options.device == "cpu":
        return {"parameters": _strings(parameters)}
    # The backend sets the search to EXHAUSTIVE wherever `parameters` do not name it, whatever the accelerator says.
    parameters["cudnn_conv_algo_search"] = str(_ALGORITHMS[_SEARCH])
    accelerators = [_accelerator("tensorrt", _tensorrt(interface, options))] if options.tensorrt else []
    accelerators.append(_accelerator("cuda", {"use_tf32": "0", "cudnn_conv_algo_search": _SEARCH}))
    optimization = {"execution_accelerators": {"gpu_execution_accelerator": accelerators}}
    return {"optimization": optimization, "parameters": _strings(parameters)}


def threads_of(options: TritonOptions) -> int:
    """The threads of each instance: by default the processors of this machine, shared among the instances."""
    return options.threads or max(1, available_cpus() // options.instances)


def _tensorrt(interface: Interface, options: TritonOptions) -> dict[str, str]:
    """One engine for all sizes of a batch: without profiles, each new size would build another one."""
    found = {"precision_mode": "FP16" if interface.artifact.manifest.precision == "fp16" else "FP32"}
    source, sizes = interface.input, {"min": 1, "opt": options.max_batch_size, "max": options.max_batch_size}
    if not interface.batched or ANY in source.shape:  # images of any size: TensorRT builds an engine for each
        return found
    return found | {
        f"trt_profile_{name}_shapes": f"{source.name}:{'x'.join(map(str, [size, *source.shape]))}"
        for name, size in sizes.items()
    }


def _accelerator(name: str, parameters: dict[str, str]) -> Message:
    return {"name": name, "parameters": [{"key": key, "value": value} for key, value in parameters.items()]}


def _strings(parameters: dict[str, str]) -> list[Message]:
    """The field `parameters`, whose values are messages of a string."""
    return [{"key": key, "value": {"string_value": value}} for key, value in parameters.items()]
