"""How to use the processors for a folder: one session of many threads, or many workers on one session; images a second.

    python bench/workers.py artifacts/resnet50.onnx …        prints JSON

The settings take turns, and the best of many rounds counts: other work on the machine only ever slows one down.
"""

import json
import os
import sys
import time
from itertools import islice, repeat
from pathlib import Path

from torchless import Classifier
from torchless.bench import made_up_jpeg
from torchless.cpus import available_cpus

ROUNDS, SECONDS = 5, 1.0
WORKERS_THREADS_BATCH = ((1, 2, 1), (1, 2, 8), (2, 1, 1), (2, 1, 8), (2, 2, 1), (3, 1, 1), (1, 1, 1))


def main(models: list[str]) -> None:
    data = made_up_jpeg()
    rows = [
        {"processors": available_cpus(), "load_average": os.getloadavg()[0], "rounds": ROUNDS, "jpeg_bytes": len(data)}
    ]
    for model in models:
        by_threads = {threads: Classifier(model, device="cpu", threads=threads) for threads in (1, 2)}
        best = dict.fromkeys(WORKERS_THREADS_BATCH, 0.0)
        for _ in range(ROUNDS):
            for workers, threads, batch in WORKERS_THREADS_BATCH:
                rate = images_per_second(by_threads[threads], data, workers, batch)
                best[workers, threads, batch] = max(best[workers, threads, batch], rate)
        name = Path(model).stem
        rows += [
            {"model": name, "workers": w, "threads": t, "batch_size": b, "images_per_second": round(r, 1)}
            for (w, t, b), r in best.items()
        ]
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


def images_per_second(classifier: Classifier, data: bytes, workers: int, batch: int) -> float:
    results = classifier.classify_many(repeat(data), batch_size=batch, workers=workers)
    list(islice(results, 2 * workers * batch))
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        list(islice(results, batch))
        done += batch
    return done / (time.perf_counter() - start)


if __name__ == "__main__":
    main(sys.argv[1:])
