"""What Triton's backend for ONNX Runtime is told about running a model.

From its source (onnxruntime_backend, src/onnxruntime.cc, main of 2026-10, commit 00fd3e8):

- `intra_op_thread_count` is read from `parameters` by every instance; 0 or none is ONNX Runtime's own choice, which
  knows nothing of a container's quota.
- `optimization.execution_accelerators.gpu_execution_accelerator` is read by instances of KIND_GPU and KIND_AUTO. The
  name "cuda" passes its parameters to the CUDA provider by the names that ONNX Runtime has for them; "tensorrt" takes a
  list of its own, and any other key or name is an error when the model is loaded. TensorRT is asked first where both
  are given, because CUDA's provider is always added last.
- Afterwards, wherever the configuration has any `parameters`, `cudnn_conv_algo_search` (a number: 0 EXHAUSTIVE,
  1 HEURISTIC, 2 DEFAULT), `gpu_mem_limit`, `arena_extend_strategy` and `do_copy_in_default_stream` are taken from
  there, and set to the backend's own defaults if they are missing, whatever the accelerator said. So HEURISTIC stands
  in both places.
"""

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from torchless.cpus import available_cpus
from torchless.errors import UsageError
from torchless.triton.config import config_text
from torchless.triton.execution import threads_of
from torchless.triton.interface import read_interface
from torchless.triton.options import TritonOptions

# The keys that the backend's loop over the parameters of "tensorrt" compares with, of those that are written here.
TENSORRT_KEYS = {"precision_mode"} | {f"trt_profile_{name}_shapes" for name in ("min", "opt", "max")}


def config_of(model: Path, options: TritonOptions) -> model_config_pb2.ModelConfig:
    text = config_text("tiny", read_interface(model), options)
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def accelerators(config: model_config_pb2.ModelConfig) -> dict[str, dict[str, str]]:
    given = config.optimization.execution_accelerators
    assert not given.cpu_execution_accelerator
    return {one.name: dict(one.parameters) for one in given.gpu_execution_accelerator}


def parameters(config: model_config_pb2.ModelConfig) -> dict[str, str]:
    return {key: value.string_value for key, value in config.parameters.items()}


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_on_a_gpu_the_answers_are_those_that_were_proved(tiny: Path, device: str) -> None:
    config = config_of(tiny, TritonOptions(device=device, threads=3))
    assert accelerators(config) == {"cuda": {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}}
    assert parameters(config) == {"intra_op_thread_count": "3", "cudnn_conv_algo_search": "1"}


def test_on_processors_nothing_is_said_of_gpus_and_instances_share_them(tiny: Path) -> None:
    config = config_of(tiny, TritonOptions(device="cpu"))
    assert accelerators(config) == {}
    assert parameters(config) == {"intra_op_thread_count": str(available_cpus())}
    assert threads_of(TritonOptions(instances=10_000)) == 1


def test_tensorrt_comes_before_cuda_and_has_one_engine_for_all_batches(tiny: Path) -> None:
    found = accelerators(config_of(tiny, TritonOptions(tensorrt=True, max_batch_size=16)))
    assert list(found) == ["tensorrt", "cuda"]
    assert found["tensorrt"].keys() == TENSORRT_KEYS
    assert found["tensorrt"]["precision_mode"] == "FP32"
    assert found["tensorrt"]["trt_profile_min_shapes"] == "input:1x3x32x32"
    assert found["tensorrt"]["trt_profile_max_shapes"] == "input:16x3x32x32"
    with pytest.raises(UsageError, match="`tensorrt` needs a GPU"):
        TritonOptions(tensorrt=True, device="cpu")


def test_every_size_of_a_batch_is_warmed_up(tiny: Path) -> None:
    config = config_of(tiny, TritonOptions(max_batch_size=5))
    assert [request.batch_size for request in config.model_warmup] == [1, 2, 3, 4, 5]
