"""One peer in a process of its own, on a GPU or a CPU: batches in main memory in, logits in main memory out.

python bench/peers/on_device.py PEER MODEL.onnx DEVICE SECONDS BATCH…

Prints for each size of a batch the milliseconds of each call; also some logits, and the memory that was taken: of the
GPU by this process (nvidia-smi before and after), and of the machine. PyTorch's images lie in page-locked memory.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
from forward import Array, Run, times

from torchless.timing import peak_memory

WARM_UP_CALLS, WARM_UP_SECONDS, LEAST_CALLS = 3, 0.2, 10


def torchless(artifact: Path, device: str, variant: str) -> Run:
    from torchless import Classifier

    path = artifact.with_suffix(".fp16.onnx") if variant == "fp16" else artifact
    rounded = variant == "tf32" and device.startswith("cuda")
    return Classifier(path, device=f"{device},tf32" if rounded else device).run


def pytorch(artifact: Path, device: str, variant: str) -> Run:
    import torch
    from network import network

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    on_gpu = device.startswith("cuda")
    module = network(artifact).to(device)
    autocast = variant != "eager"
    layout = torch.channels_last if autocast else torch.contiguous_format
    module = module.to(memory_format=layout)
    if variant == "compile":  # CUDA graphs too: its quickest mode for small batches
        module = torch.compile(module, mode="reduce-overhead" if on_gpu else None)
    rounded = torch.float16 if on_gpu else torch.bfloat16
    held: dict[int, torch.Tensor] = {}

    def run(batch: Array) -> Array:
        if on_gpu and len(batch) not in held:
            held[len(batch)] = torch.from_numpy(batch).pin_memory()
        source = held.get(len(batch), torch.from_numpy(batch) if not on_gpu else None)
        with torch.inference_mode(), torch.autocast(device.partition(":")[0], rounded, enabled=autocast):
            given = source.to(device, non_blocking=True).contiguous(memory_format=layout)
            return module(given).float().cpu().numpy()

    return run


PEERS: dict[str, Callable[[Path, str, str], Run]] = {"torchless": torchless, "pytorch": pytorch}
VARIANTS = {
    "torchless": "float32", "torchless_tf32": "tf32", "torchless_fp16": "fp16",
    "pytorch": "eager", "pytorch_channels_last_autocast": "channels_last", "pytorch_compile_autocast": "compile",
}  # fmt: skip


def gpu_memory_mb() -> int | None:
    """What is taken of the first GPU, in units of 10⁶ bytes; None without one."""
    asked = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return round(float(said.splitlines()[0]) * 2**20 / 1e6)


def main(peer: str, artifact: str, device: str, seconds: str, *sizes: str) -> None:
    before, batches = gpu_memory_mb(), [int(size) for size in sizes]
    run = PEERS[peer.partition("_")[0]](Path(artifact), device, VARIANTS[peer])
    found, logits, failed = [], None, None
    from torchless.model.artifact import read_artifact

    height, width = read_artifact(artifact).manifest.image_size
    for size in batches:
        batch = np.random.default_rng(0).standard_normal((size, 3, height, width), dtype=np.float32)
        try:
            answer = run(batch)
        except Exception as error:  # mostly: the GPU's memory is full
            failed = f"batch {size}: {str(error).splitlines()[0]}"
            break
        logits = logits if logits is not None else answer[0, :10].tolist()
        times(run, batch, WARM_UP_CALLS, WARM_UP_SECONDS)
        ms = times(run, batch, LEAST_CALLS, float(seconds))
        found.append({"batch": size, "p50_ms": round(median(ms), 4), "p95_ms": round(float(np.percentile(ms, 95)), 4)})
    after = gpu_memory_mb()
    taken = after - before if before is not None and after is not None else None
    print(
        json.dumps(
            {"times": found, "logits": logits, "failed": failed, "gpu_mb": taken, "host_mb": round(peak_memory() / 1e6)}
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
