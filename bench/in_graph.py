"""What preprocessing costs inside the graph and in Pillow, one thread each: prints JSON, which docs/in-graph.md shows.

python bench/in_graph.py artifacts/efficientnet_lite0-in-graph.onnx > figures/in_graph.json
"""

import json
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

from torchless import Classifier, __version__
from torchless.doctor.machine import here
from torchless.image.exact_crop import preprocess_crop
from torchless.timing import time_calls
from torchless_export.in_graph.build import GraphPreprocessing

SIZES = ((224, 224), (500, 375), (640, 480), (1920, 1080), (4000, 3000))
SECONDS = 2.0


def measure(model: Path) -> dict[str, object]:
    """Medians in milliseconds, for an artifact with preprocessing in its graph."""
    spec, inside = Classifier(model, device="cpu", threads=1).manifest.preprocess, GraphPreprocessing(model, threads=1)
    rows = []
    for width, height in SIZES:
        image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))
        graph = statistics.median(time_calls(partial(inside, image), SECONDS))
        pillow = statistics.median(time_calls(partial(preprocess_crop, image, spec), SECONDS))
        rows.append({"width": width, "height": height, "graph_ms": round(graph, 2), "pillow_ms": round(pillow, 2)})
    versions = {"torchless": __version__, "onnxruntime": onnxruntime.__version__}
    return {
        **here(),
        "model": model.name,
        "resize_size": spec.resize.size[0],
        "crop_size": spec.crop[0],
        "versions": versions,
        "rows": rows,
    }


if __name__ == "__main__":
    print(json.dumps(measure(Path(sys.argv[1])), indent=2))
