"""What `--decode fast` changes: the same JPEGs decoded exactly and fast, through networks with real weights.

    python bench/fast_decoding.py artifacts/efficientnet_lite0.onnx …        prints JSON

Fast in three ways: with the extra `fast`, without it, and as it was at first, with no resolution to spare. The JPEGs
are made from scikit-image's real photos: photos.py.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np

from photos import make_jpegs
from torchless import Classifier, ImageOptions
from torchless.image import decode as images
from torchless.image import fast

SIZES = (((500, 375), 100), ((4000, 3000), 60))
WAYS = {"fast": (2, True), "pillow": (2, False), "no_margin": (1, True)}  # the margin, and whether the extra is used


def main(models: list[str]) -> None:
    if missing := fast.missing_packages():
        raise SystemExit(f"this measures the extra fast, of which {' and '.join(missing)} cannot be used")
    rows = []
    for size, count in SIZES:
        jpegs = list(make_jpegs(count, size))
        for model in models:
            exact = Answers(Classifier(model, device="cpu"), jpegs)
            row = {"model": Path(model).stem, "size": list(size), "images": len(jpegs), "exact_ms": exact.milliseconds}
            rows.append(row | {name: compare(exact, decoded(model, jpegs, *way)) for name, way in WAYS.items()})
    sys.stdout.write(json.dumps(rows, indent=1) + "\n")


def decoded(model: str, jpegs: list[bytes], margin: int, with_extra: bool) -> "Answers":
    """Those of fast decoding."""
    images._DRAFT_MARGIN = margin
    package, fast._package = fast._package, fast._package if with_extra else lambda _: None
    try:
        return Answers(Classifier(model, device="cpu", image_options=ImageOptions(decode="fast")), jpegs)
    finally:
        fast._package = package


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


def compare(exact: Answers, quick: Answers) -> dict[str, object]:
    """The time, how often the two agree; of those that do not, how sure the exact answer was at most."""
    ours, theirs = exact.probabilities, quick.probabilities
    flipped = ours.argmax(axis=1) != theirs.argmax(axis=1)
    top5 = [len(set(np.argsort(-a)[:5]) & set(np.argsort(-b)[:5])) for a, b in zip(ours, theirs, strict=True)]
    shift = np.abs(ours.max(axis=1) - np.take_along_axis(theirs, ours.argmax(axis=1)[:, None], axis=1)[:, 0])
    return {
        "ms": quick.milliseconds,
        "top1_same": int((~flipped).sum()),
        "highest_probability_that_flipped": round(float(ours.max(axis=1)[flipped].max(initial=0)), 3),
        "top5_shared": round(float(np.mean(top5)), 2),
        "median_shift_of_top1_probability": round(float(np.median(shift)), 4),
        "largest_shift_of_top1_probability": round(float(shift.max()), 3),
    }


if __name__ == "__main__":
    main(sys.argv[1:])
