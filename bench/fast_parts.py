"""What docs/performance.md says was tried for folders of images, in milliseconds of a processor, one thread.

    python bench/fast_parts.py artifacts/bench/mobilenet_v3_small.onnx        prints JSON

`decode`: Pillow and simplejpeg at full size and at an eighth, where little is left but the file's Huffman codes.
`resize`: Pillow, and cykooz_resizer in one go and across first, with the share of values that differ from Pillow's.
`images`: from a file to a row of JSON, by how many images go through each step, and through the model, at once.
"""

import io
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import cykooz_resizer
import numpy as np
import simplejpeg
from PIL import Image

from photos import make_folder, make_jpegs
from torchless import Classifier, ImageOptions
from torchless.engine.results import Input
from torchless.image.decode import take_pillow_over
from torchless.image.fast import resize_box

ROUNDS, IMAGES = 9, 48
GROUPS = ((1, 1), (4, 1), (2, 2), (4, 4))  # images in each step, and in each run of the model


def cost(work: Callable[[], object]) -> float:
    """Median milliseconds of this thread."""
    times = []
    for _ in range(ROUNDS):
        start = time.thread_time()
        work()
        times.append((time.thread_time() - start) * 1000)
    return round(median(times), 3)


def decode(size: tuple[int, int]) -> dict[str, object]:
    (data,) = make_jpegs(1, size)

    def pillow(scale: int) -> Image.Image:
        opened = Image.open(io.BytesIO(data))
        opened.draft(None, (size[0] // scale, size[1] // scale))
        opened.load()
        return opened

    def other(scale: int) -> np.ndarray:
        return simplejpeg.decode_jpeg(data, min_width=-(-size[0] // scale), min_height=-(-size[1] // scale))

    timed = {
        f"{way.__name__}_{scale}": cost(lambda w=way, s=scale: w(s)) for way in (pillow, other) for scale in (1, 8)
    }
    return {"size": list(size), "bytes": len(data)} | timed


def resize(size: tuple[int, int]) -> dict[str, object]:
    (data,) = make_jpegs(1, size)
    image, target = Image.open(io.BytesIO(data)).convert("RGB"), (341, 256)
    convolution = cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.bilinear)

    def at_once() -> Image.Image:
        found = Image.new("RGB", target)
        cykooz_resizer.Resizer().resize_pil(image, found, cykooz_resizer.ResizeOptions(resize_alg=convolution))
        return found

    def across_first() -> Image.Image:
        return resize_box(image, target, "bilinear", (0, 0, *size), (0, size[1]))

    wanted = np.asarray(image.resize(target, Image.Resampling.BILINEAR))
    row: dict[str, object] = {
        "size": list(size),
        "pillow": cost(lambda: image.resize(target, Image.Resampling.BILINEAR)),
    }
    for way in (at_once, across_first):
        differing = float((np.asarray(way()) != wanted).mean())
        row[way.__name__] = {"ms": cost(way), "share_that_differs": round(differing, 4)}
    return row


def images(model: str, paths: list[str], option: str) -> dict[str, object]:
    classifier = Classifier(model, device="cpu", threads=1, image_options=ImageOptions(decode=option))
    times: dict[str, list[float]] = {f"{step}_{run}": [] for step, run in GROUPS}
    rank = lambda name, output: classifier.rank(name, output, 5)  # noqa: E731
    for _ in range(ROUNDS):
        for step, run in GROUPS:
            start = time.thread_time()
            for at in range(0, len(paths), step):
                group = [Input(path, path) for path in paths[at : at + step]]
                for result in classifier._classify_chunk(group, rank, classifier._session, run):
                    result.to_json()
            times[f"{step}_{run}"].append((time.thread_time() - start) * 1000 / len(paths))
    return {"decode": option} | {name: round(median(found), 2) for name, found in times.items()}


def main(model: str) -> None:
    take_pillow_over(1)
    sizes = (500, 375), (4000, 3000)
    with tempfile.TemporaryDirectory() as box:
        paths = sorted(str(path) for path in make_folder(Path(box), IMAGES, sizes[0]).iterdir())
        found = {
            "decode": [decode(size) for size in sizes],
            "resize": [resize(size) for size in sizes],
            "images": [images(model, paths, option) for option in ("exact", "fast")],
        }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(sys.argv[1])
