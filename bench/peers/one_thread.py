"""The time that one image takes one thread, by stage, over a folder.

python bench/peers/one_thread.py MODEL.onnx FOLDER exact|fast COUNT
"""

import json
import sys
import time
from itertools import islice, pairwise
from pathlib import Path

from torchless import Classifier, ImageOptions
from torchless.image.decode import take_pillow_over


def main(artifact: str, folder: str, decode: str, count: str) -> None:
    take_pillow_over(1)  # as infer does
    classifier = Classifier(artifact, device="cpu", threads=1, image_options=ImageOptions(decode=decode))
    times = []
    for path in islice(sorted(Path(folder).iterdir()), int(count) + 5):
        clock = [time.perf_counter()]
        rgb = classifier.decode(path)
        clock.append(time.perf_counter())
        array = classifier.prepare(rgb)
        clock.append(time.perf_counter())
        classifier.run(array[None])
        clock.append(time.perf_counter())
        times.append([(end - start) * 1000 for start, end in pairwise(clock)])
    stages = [sum(column) / int(count) for column in zip(*times[5:], strict=True)]
    print(json.dumps(dict(zip(("decode_ms", "preprocess_ms", "inference_ms"), stages, strict=True))))


if __name__ == "__main__":
    main(*sys.argv[1:])
