"""Would a cached optimised graph pay? Opens a session on the exported file, and on ONNX Runtime's optimised graph.

    python bench/loading.py MODEL.onnx …        prints JSON: milliseconds, medians of rounds in which they take turns

`hash_ms` is what a cache would cost besides: it is keyed by the file's SHA-256.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import onnxruntime as ort

from torchless.cpus import available_cpus
from torchless.model.artifact import sha256_of

ROUNDS = 7


def main(models: list[str]) -> None:
    print(json.dumps([measure(Path(model)) for model in models], indent=1))


def measure(model: Path) -> dict[str, object]:
    """One row: a model's file, the same optimised as ONNX, and as ORT's own format."""
    with tempfile.TemporaryDirectory() as box:
        optimised, flat = Path(box, "optimised.onnx"), Path(box, "optimised.ort")
        for path in (optimised, flat):
            options = settings()
            options.optimized_model_filepath = str(path)
            if path is flat:
                options.add_session_config_entry("session.save_model_format", "ORT")
            ort.InferenceSession(model, options)
        as_it_is = settings()
        as_it_is.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        ways = {
            "exported_ms": lambda: ort.InferenceSession(model, settings()),
            "optimised_onnx_ms": lambda: ort.InferenceSession(optimised, as_it_is),
            "optimised_ort_ms": lambda: ort.InferenceSession(flat, as_it_is),
            "hash_ms": lambda: sha256_of(model),
        }
        row = {"model": model.stem, "exported_bytes": model.stat().st_size, "optimised_bytes": optimised.stat().st_size}
        return row | in_turns(ways)


def settings() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = available_cpus(), 4
    return options


def in_turns(ways: dict[str, Callable[[], object]]) -> dict[str, float]:
    found: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            found[name].append((time.perf_counter() - start) * 1000)
    return {name: round(median(times), 2) for name, times in found.items()}


if __name__ == "__main__":
    main(sys.argv[1:])
