"""One peer in a process of its own: one image, tensor in, logits out, again and again. Prints milliseconds as JSON.

python bench/peers/forward.py PEER MODEL.onnx THREADS SECONDS
"""

import json
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Run = Callable[[Array], Array]

WARM_UP_CALLS, WARM_UP_SECONDS, LEAST_CALLS = 5, 0.5, 15


def torchless(artifact: Path, threads: int) -> Run:
    from torchless import Classifier

    return Classifier(artifact, device="cpu", threads=threads).run


def bare_onnxruntime(artifact: Path, threads: int) -> Run:
    """ONNX Runtime with its default options, but for the number of threads."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(artifact, options)
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def tuned_onnxruntime(artifact: Path, threads: int, option: str) -> Run:
    """ONNX Runtime with one of its options changed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    match option:
        case "extended" | "basic":
            levels = onnxruntime.GraphOptimizationLevel
            options.graph_optimization_level = (
                levels.ORT_ENABLE_EXTENDED if option == "extended" else levels.ORT_ENABLE_BASIC
            )
        case "no_spinning":
            options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        case "no_arena":
            options.enable_cpu_mem_arena = False
        case "no_prepacking":
            options.add_session_config_entry("session.disable_prepacking", "1")
        case "denormals_as_zero":
            options.add_session_config_entry("session.set_denormal_as_zero", "1")
        case "parallel":
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
    providers = ["OpenVINOExecutionProvider"] if option == "openvino_provider" else ["CPUExecutionProvider"]
    settings = (
        [{"device_type": "CPU", "num_of_threads": str(threads), "precision": "FP32"}]
        if option == "openvino_provider"
        else None
    )
    session = onnxruntime.InferenceSession(artifact, options, providers=providers, provider_options=settings)
    if session.get_providers()[0] != providers[0]:
        raise SystemExit(f"{providers[0]} is not available: {session.get_providers()}")
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
    if option != "io_binding":
        return lambda batch: session.run(None, {name: batch})[0]
    binding = session.io_binding()

    def run(batch: Array) -> Array:
        binding.bind_cpu_input(name, batch)
        binding.bind_output(output)
        session.run_with_iobinding(binding)
        return binding.copy_outputs_to_cpu()[0]

    return run


def openvino(artifact: Path, threads: int) -> Run:
    """OpenVINO for least latency, in float32: its default may be bfloat16 where the processor has that."""
    import openvino as ov

    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    network = ov.Core().read_model(artifact)
    network.reshape({0: [1, *network.input().partial_shape[1:]]})  # one image: the shape that it is best at
    request = ov.Core().compile_model(network, "CPU", settings).create_infer_request()
    return lambda batch: request.infer([batch], share_inputs=True)[0]


def pytorch(artifact: Path, threads: int, variant: str) -> Run:
    import torch
    from network import network

    torch.set_num_threads(threads)
    module = network(artifact)
    channels_last = variant == "channels_last"
    if channels_last:
        module = module.to(memory_format=torch.channels_last)
    if variant == "compile":
        module = torch.compile(module)

    def run(batch: Array) -> Array:
        with torch.inference_mode():
            image = torch.from_numpy(batch)
            return module(image.to(memory_format=torch.channels_last) if channels_last else image).numpy()

    return run


PEERS: dict[str, Callable[[Path, int], Run]] = {
    "torchless": torchless,
    "torchless_int8": lambda artifact, threads: torchless(artifact.with_suffix(".int8.onnx"), threads),
    "onnxruntime": bare_onnxruntime,
    "openvino": openvino,
    "pytorch": lambda artifact, threads: pytorch(artifact, threads, "eager"),
    "pytorch_channels_last": lambda artifact, threads: pytorch(artifact, threads, "channels_last"),
    "pytorch_compile": lambda artifact, threads: pytorch(artifact, threads, "compile"),
}
OPTIONS = (
    "extended", "basic", "no_spinning", "no_arena", "no_prepacking", "denormals_as_zero", "parallel", "io_binding",
    "openvino_provider",
)  # fmt: skip
PEERS |= {option: partial(tuned_onnxruntime, option=option) for option in OPTIONS}


def main(peer: str, artifact: str, threads: str, seconds: str) -> None:
    started = time.perf_counter()
    run = PEERS[peer](Path(artifact), int(threads))
    batch = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    logits = run(batch)
    ready = time.perf_counter() - started
    times(run, batch, WARM_UP_CALLS, WARM_UP_SECONDS)
    milliseconds = times(run, batch, LEAST_CALLS, float(seconds))
    print(json.dumps({"ready_s": ready, "ms": milliseconds, "logits": logits[0, :10].tolist()}))


def times(run: Run, batch: Array, least_calls: int, seconds: float) -> list[float]:
    """Milliseconds of each call, for `seconds`, and of at least `least_calls`."""
    found: list[float] = []
    while len(found) < least_calls or sum(found) < 1000 * seconds:
        start = time.perf_counter()
        run(batch)
        found.append((time.perf_counter() - start) * 1000)
    return found


if __name__ == "__main__":
    main(*sys.argv[1:])
