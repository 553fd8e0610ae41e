"""Preprocessing of a decoded image: torchless, exact and fast, against torchvision's transforms, one thread, in turn.

python bench/preprocess.py            prints JSON: milliseconds (the least of many rounds) and ratios
"""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import skimage
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from torchless.image.exact_crop import preprocess_crop
from torchless.model.preprocessing import Preprocess

SIZES = ((500, 375), (375, 500), (1600, 1200), (4000, 3000))
PRESETS = {
    "256/224 bilinear": (256, "bilinear"),
    "232/224 bilinear": (232, "bilinear"),
    "256/224 bicubic": (256, "bicubic"),
}
ROUNDS, SECONDS_A_ROUND = 15, 0.1


def main() -> None:
    torch.set_num_threads(1)
    photo = Image.open(Path(skimage.data_dir) / "coffee.png").convert("RGB")
    print(json.dumps([measure(photo.resize(size), name) for name in PRESETS for size in SIZES], indent=1))


def measure(image: Image.Image, preset: str) -> dict[str, object]:
    """One row: an image size under one preset."""
    resize_size, interpolation = PRESETS[preset]
    spec = Preprocess.centered(
        resize=resize_size,
        crop=224,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
        interpolation=interpolation,
    )
    peer = ImageClassification(crop_size=224, resize_size=resize_size, interpolation=InterpolationMode(interpolation))
    if not np.array_equal(peer(image).numpy(), preprocess_crop(image, spec)):
        raise SystemExit("not bit-exact: nothing to measure")
    steps = {
        "torchvision": lambda: peer(image),
        "exact": lambda: preprocess_crop(image, spec),
        "fast": lambda: preprocess_crop(image, spec, decode="fast"),
    }
    best = least_ms(steps)
    ratios = {f"{name}_ratio": round(best["torchvision"] / best[name], 2) for name in ("exact", "fast")}
    return (
        {"size": "×".join(map(str, image.size)), "preset": preset}
        | {name: round(ms, 3) for name, ms in best.items()}
        | ratios
    )


def least_ms(steps: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Milliseconds per call, the least over rounds in which they take turns: other work on the machine only adds."""
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(ROUNDS):
        for name, step in steps.items():
            calls, start = 0, time.perf_counter()
            while time.perf_counter() - start < SECONDS_A_ROUND:
                step()
                calls += 1
            best[name] = min(best[name], (time.perf_counter() - start) / calls * 1000)
    return best


if __name__ == "__main__":
    main()
