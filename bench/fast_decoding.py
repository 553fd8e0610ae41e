"""What `--decode fast` changes: the same large JPEGs decoded exactly and fast, through a real model.

    python bench/fast_decoding.py artifacts/efficientnet_lite0.onnx        prints JSON

The JPEGs are made from scikit-image's real photos: photos.py.
"""

import json
import sys
import time

import numpy as np

from photos import make_jpegs
from torchless import Classifier, ImageOptions
from torchless.image import decode as images

COUNT, SIZE = 120, (4000, 3000)


def main(model: str) -> None:
    jpegs = list(make_jpegs(COUNT, SIZE))
    exact = Answers(Classifier(model), jpegs)
    rows = {"images": len(jpegs), "exact_ms": exact.milliseconds}
    for margin in (1, 2):
        images._DRAFT_MARGIN = margin
        fast = Answers(Classifier(model, image_options=ImageOptions(decode="fast")), jpegs)
        rows[f"margin_{margin}"] = {"ms": fast.milliseconds} | compare(exact, fast)
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


class Answers:
    """The probabilities (N, classes) of a list of JPEGs, and the median milliseconds of decoding and preprocessing."""

    def __init__(self, classifier: Classifier, jpegs: list[bytes]) -> None:
        inputs, times = [], []
        for data in jpegs:
            start = time.perf_counter()
            inputs.append(classifier.preprocess(data))
            times.append(time.perf_counter() - start)
        logits = np.concatenate([classifier.run(array[None]) for array in inputs]).astype(np.float64)
        self.probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
        self.probabilities /= self.probabilities.sum(axis=1, keepdims=True)
        self.milliseconds = round(float(np.median(times)) * 1000, 1)


def compare(exact: Answers, fast: Answers) -> dict[str, object]:
    """How often the two agree; of those that do not, how sure the exact answer was at most."""
    ours, theirs = exact.probabilities, fast.probabilities
    flipped = ours.argmax(axis=1) != theirs.argmax(axis=1)
    top5 = [len(set(np.argsort(-a)[:5]) & set(np.argsort(-b)[:5])) for a, b in zip(ours, theirs, strict=True)]
    shift = np.abs(ours.max(axis=1) - np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], axis=1)[:, 0])
    return {
        "top1_same": int((~flipped).sum()),
        "highest_probability_that_flipped": round(float(ours.max(axis=1)[flipped].max(initial=0)), 3),
        "top5_shared": round(float(np.mean(top5)), 2),
        "median_shift_of_top1_probability": round(float(np.median(shift)), 4),
        "largest_shift_of_top1_probability": round(float(shift.max()), 3),
    }


if __name__ == "__main__":
    main(sys.argv[1])
