"""One peer in a process of its own: one image, tensor in, logits out, again and again. Prints milliseconds as JSON.

python bench/peers/forward.py PEER MODEL.onnx THREADS SECONDS
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

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


class UnavailableError(Exception):
    """What this machine does not have, in words."""


# Entries of a session's configuration, by the name of the option here.
ENTRIES = {
    "no_spinning": ("session.intra_op.allow_spinning", "0"),
    "spin_100us": ("session.intra_op.spin_duration_us", "100"),
    "spin_10ms": ("session.intra_op.spin_duration_us", "10000"),
    "force_spinning_stop": ("session.force_spinning_stop", "1"),
    "no_prepacking": ("session.disable_prepacking", "1"),
    "denormals_as_zero": ("session.set_denormal_as_zero", "1"),
}


def tuned_onnxruntime(artifact: Path, threads: int, option: str) -> Run:
    """ONNX Runtime with one of its options changed."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    if option in ENTRIES:
        options.add_session_config_entry(*ENTRIES[option])
    match option:
        case "extended" | "basic":
            levels = onnxruntime.GraphOptimizationLevel
            options.graph_optimization_level = (
                levels.ORT_ENABLE_EXTENDED if option == "extended" else levels.ORT_ENABLE_BASIC
            )
        case "affinity":  # of all threads but the first, which is the caller's; its processors count from 1
            own = sorted(os.sched_getaffinity(0))[1:threads]
            options.add_session_config_entry(
                "session.intra_op_thread_affinities", ";".join(str(number + 1) for number in own)
            )
        case "no_arena":
            options.enable_cpu_mem_arena = False
        case "parallel":
            options.execution_mode = onnxruntime.ExecutionMode.ORT_PARALLEL
        case "openvino_plugin":
            add_openvino_plugin(options, threads)
            return runner(onnxruntime.InferenceSession(artifact, options))
    providers = ["OpenVINOExecutionProvider"] if option == "openvino_provider" else ["CPUExecutionProvider"]
    settings = (
        [{"device_type": "CPU", "num_of_threads": str(threads), "precision": "FP32"}]
        if option == "openvino_provider"
        else None
    )
    session = onnxruntime.InferenceSession(artifact, options, providers=providers, provider_options=settings)
    if session.get_providers()[0] != providers[0]:
        raise SystemExit(f"{providers[0]} is not available: {session.get_providers()}")
    return bound_runner(session) if option == "io_binding" else runner(session)


def add_openvino_plugin(options: Any, threads: int) -> None:
    """OpenVINO as a plug-in of the usual ONNX Runtime. Raises UnavailableError where it offers no processor."""
    import onnxruntime
    import onnxruntime_ep_openvino as plugin

    onnxruntime.register_execution_provider_library(plugin.get_ep_name(), plugin.get_library_path())
    offered = [one for one in onnxruntime.get_ep_devices() if one.ep_name == plugin.get_ep_name()]
    processors = [one for one in offered if one.device.type == onnxruntime.OrtHardwareDeviceType.CPU]
    if not processors:
        raise UnavailableError("the plug-in offers nothing on this processor")
    settings = {"CPU": {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": str(threads)}}
    options.add_provider_for_devices(processors[:1], {"load_config": json.dumps(settings)})


def runner(session: Any) -> Run:
    name = session.get_inputs()[0].name
    return lambda batch: session.run(None, {name: batch})[0]


def bound_runner(session: Any) -> Run:
    """Through IO binding."""
    name, output = session.get_inputs()[0].name, session.get_outputs()[0].name
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
    "extended", "basic", *ENTRIES, "affinity", "no_arena", "parallel", "io_binding", "openvino_provider",
    "openvino_plugin",
)  # fmt: skip
PEERS |= {option: partial(tuned_onnxruntime, option=option) for option in OPTIONS}


def main(peer: str, artifact: str, threads: str, seconds: str) -> None:
    started = time.perf_counter()
    try:
        run = PEERS[peer](Path(artifact), int(threads))
    except UnavailableError as error:
        print(json.dumps({"unavailable": str(error)}))
        return
    batch = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
    logits = run(batch)
    ready = time.perf_counter() - started
    times(run, batch, WARM_UP_CALLS, WARM_UP_SECONDS)
    before = time.process_time()
    milliseconds = times(run, batch, LEAST_CALLS, float(seconds))
    cpu_ms = (time.process_time() - before) * 1000 / len(milliseconds)  # of all threads, and of those that only wait
    print(json.dumps({"ready_s": ready, "ms": milliseconds, "cpu_ms": cpu_ms, "logits": logits[0, :10].tolist()}))


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
