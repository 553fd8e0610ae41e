"""What parts of an export cost, in seconds of processor time on one thread, unless said otherwise: the figures of
docs/performance.md, "Export and proof". Prints JSON.

    python bench/export_parts.py                    all of them
    python bench/export_parts.py waiting moments    these alone
"""

import copy
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

ROOT = Path(__file__).parents[1]
IMPORTS = "import gc, time\n{first}\nimport torch, torchvision\nprint(time.process_time())"

FREEING = {
    "freed memory goes back": {"MALLOC_MMAP_THRESHOLD_": str(32 << 20)},
    "freed memory is kept": {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**31 - 1)},
}
WAITING = {
    "threads spin as by default": {},
    "`GOMP_SPINCOUNT=1000`": {"GOMP_SPINCOUNT": "1000"},
    "`OMP_WAIT_POLICY=passive`": {"OMP_WAIT_POLICY": "passive"},
}


def seconds(work: Callable[[], object], times: int = 3, clock: Callable[[], float] = time.process_time) -> float:
    """The least time of several calls."""
    found = []
    for _ in range(times):
        start = clock()
        work()
        found.append(clock() - start)
    return round(min(found), 4)


def python(*arguments: str, **variables: str) -> str:
    command = [sys.executable, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | variables).stdout


def imports() -> dict[str, float]:
    cases = {"searching for garbage": "", "without searching": "gc.disable()"}
    return {
        name: min(float(python("-c", IMPORTS.format(first=first))) for _ in range(3)) for name, first in cases.items()
    }


def waiting() -> dict[str, dict[str, float]]:
    """Two threads: efficientnet_lite0 in float64, and without oneDNN, on the machine as it is and beside two processes
    that are busy.
    """
    alone = {name: json.loads(python(__file__, "forward", **said)) for name, said in WAITING.items()}
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        return alone | {
            f"{name}, beside two busy processes": json.loads(python(__file__, "forward", **said))
            for name, said in WAITING.items()
        }
    finally:
        for process in busy:
            process.kill()


def forward() -> dict[str, float]:
    import torch

    sys.path.insert(0, str(ROOT))
    from examples.efficientnet_lite import lite0

    network, images = lite0()[0].eval(), torch.rand(4, 3, 224, 224)
    double = copy.deepcopy(network).double()
    with torch.inference_mode():
        found = {"float64": seconds(lambda: double(images.double()), clock=time.perf_counter)}
        with torch.backends.mkldnn.flags(enabled=False):
            return found | {"without oneDNN": seconds(lambda: network(images), clock=time.perf_counter)}


def moments() -> dict[str, float]:
    """Nanoseconds a number."""
    import torch

    from torchless_export.sources.reinit import _moments

    torch.set_num_threads(1)
    values = torch.randn(16, 64, 112, 112)
    cases = {
        "`torch.var_mean`": lambda: torch.var_mean(values, [0, 2, 3], correction=0),
        "in parts": lambda: _moments(values, 1),
    }
    return {name: round(1e9 * seconds(work) / values.numel(), 2) for name, work in cases.items()}


def reference() -> dict[str, float]:
    """resnet50 in float64: seconds an image by batch size."""
    import torch
    from torchvision.models import resnet50

    torch.set_num_threads(1)
    network = resnet50().eval().double()
    with torch.inference_mode():
        return {
            f"{size}": round(seconds(lambda size=size: network(torch.rand(size, 3, 224, 224).double()), 2) / size, 3)
            for size in (1, 2, 4, 8)
        }


def freeing() -> dict[str, float]:
    """resnet50 in float64, seconds an image in a batch of 8, where memory that is freed goes back to the system and
    where it is kept.
    """
    return {name: json.loads(python(__file__, "double", **said)) for name, said in FREEING.items()}


def double() -> float:
    import torch
    from torchvision.models import resnet50

    torch.set_num_threads(1)
    network, images = resnet50().eval().double(), torch.rand(8, 3, 224, 224).double()
    with torch.inference_mode():
        return round(seconds(lambda: network(images)) / len(images), 3)


def garbage() -> dict[str, dict[str, dict[str, float]]]:
    """The first conversion of a process, with the search for garbage and without: seconds, and the most memory."""
    cases = "searching for garbage", "without searching"
    return {
        name: {case: json.loads(python(__file__, "convert", name, case)) for case in cases}
        for name in ("efficientnet_lite0", "resnet50")
    }


def convert(name: str, case: str) -> dict[str, float]:
    import torch
    from torchvision.models import resnet50

    from torchless.heaps import keep_what_is_freed
    from torchless.timing import peak_memory
    from torchless_export.convert import to_onnx

    sys.path.insert(0, str(ROOT))
    from examples.efficientnet_lite import lite0

    keep_what_is_freed()
    network = (lite0()[0] if name == "efficientnet_lite0" else resnet50()).eval()
    if case == "searching for garbage":
        to_onnx.no_search_for_garbage = nullcontext
    with torch.inference_mode():
        network(torch.rand(1, 3, 224, 224))
    took = seconds(lambda: to_onnx.to_onnx(network, (3, 224, 224)), 1)
    return {"seconds": took, "MB at most": peak_memory() // 10**6}


def conversion() -> dict[str, float]:
    """resnet50 through each of torch's exporters."""
    import torch
    from torchvision.models import resnet50

    from torchless_export.convert.to_onnx import to_onnx

    torch.set_num_threads(1)
    network = resnet50().eval()
    return {
        name: seconds(lambda name=name: to_onnx(network, (3, 224, 224), exporter=name))
        for name in ("dynamo", "torchscript")
    }


PARTS = {part.__name__: part for part in (imports, waiting, moments, reference, freeing, garbage, conversion)}
CHILDREN = {(part.__name__,): part for part in (forward, double)}


def main(*names: str) -> None:
    if names[:1] == ("convert",):
        print(json.dumps(convert(*names[1:])))
        return
    if names in CHILDREN:
        print(json.dumps(CHILDREN[names]()))
        return
    print(json.dumps({name: PARTS[name]() for name in names or PARTS}, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
