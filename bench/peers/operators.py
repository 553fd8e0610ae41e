"""Which operators take ONNX Runtime's time: its own profiler, all processors. Prints the largest shares as JSON.

python bench/peers/operators.py MODEL.onnx THREADS
"""

import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime

CALLS, SHOWN = 30, 6


def main(artifact: str, threads: str) -> None:
    with tempfile.TemporaryDirectory() as box:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.enable_profiling, options.profile_file_prefix = (
            int(threads),
            True,
            str(Path(box, "profile")),
        )
        session = onnxruntime.InferenceSession(artifact, options)
        batch = np.random.default_rng(0).standard_normal((1, 3, 224, 224), dtype=np.float32)
        for _ in range(CALLS):
            session.run(None, {session.get_inputs()[0].name: batch})
        events = json.loads(Path(session.end_profiling()).read_text())
    took: Counter[str] = Counter()
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            took[event["args"]["op_name"]] += event["dur"]
    print(json.dumps({name: round(spent / took.total(), 4) for name, spent in took.most_common(SHOWN)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
