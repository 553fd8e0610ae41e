"""What a model does on a number of processors: a folder, a server, and one image; prints JSON.

    python bench/cores.py MODEL.onnx FOLDER PROCESSORS INFER

`PROCESSORS` is how many of those that this process may use it keeps; the server's clients run on them too. `INFER` is
the program that goes through the folder, start and end included.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from statistics import median

import numpy as np

from clients import as_request, put_load
from serve import server
from torchless import Classifier
from torchless.timing import time_calls

CLIENTS, SECONDS, IMAGES = 32, 3.0, 16


def main(model: str, folder: str, processors: str, infer: str) -> None:
    own = sorted(os.sched_getaffinity(0))[: int(processors)]
    os.sched_setaffinity(0, own)  # every process that is started from here has the same
    artifact, images = Path(model), Path(folder)
    found = {
        "folder_images_per_second": through_folder(artifact, images, infer),
        "server_requests_per_second": of_server(artifact, images),
        "one_image_ms": one_image(artifact, len(own)),
    }
    print(json.dumps(found))


def through_folder(artifact: Path, images: Path, infer: str) -> float:
    with tempfile.TemporaryDirectory() as box:
        start = time.perf_counter()
        command = [infer, artifact, images, "--output", Path(box, "rows.jsonl")]
        subprocess.run(command, check=True, capture_output=True)
        return len(list(images.iterdir())) / (time.perf_counter() - start)


def of_server(artifact: Path, images: Path) -> float:
    data = [path.read_bytes() for path in islice(sorted(images.iterdir()), IMAGES)]
    classifier = Classifier(artifact, device="cpu")
    wanted = [result.predictions[0] for result in classifier.classify_many(data, top_k=1)]
    requests = [as_request(image) for image in data]
    with server("torchless", artifact, "--max-queue", "512") as (port, _):
        put_load(port, 4, 1.0, requests, wanted)
        load = put_load(port, CLIENTS, SECONDS, requests, wanted)
    if load.wrong or set(load.statuses) != {"200"}:
        raise SystemExit(f"the server gave {load.wrong} wrong answers, and {dict(load.statuses)}")
    return len(load.latencies) / load.seconds


def one_image(artifact: Path, threads: int) -> float:
    classifier = Classifier(artifact, device="cpu", threads=threads)
    batch = np.random.default_rng(0).standard_normal(classifier.example().shape, dtype=np.float32)
    return median(time_calls(lambda: classifier.run(batch), 1.0))


if __name__ == "__main__":
    main(*sys.argv[1:])
