import json
from pathlib import Path

import pytest

from torchless.bench import BenchResult, Folder, Forward, bench_model
from torchless.cli.bench import bench_text
from torchless.engine.options import ModelOptions
from torchless.errors import ImageError, ImageReadError, UsageError
from torchless.timing import Timing

CPU = ModelOptions(device="cpu")


def test_everything_is_measured(tiny: Path) -> None:
    result = bench_model(tiny, opening=CPU, batch_sizes=[2, 1], threads=[1], workers=[1, 2], seconds=0.01)
    assert [(row.threads, row.batch_size) for row in result.forward] == [(1, 1), (1, 2)]
    assert [(row.workers, row.threads, row.batch_size) for row in result.folder] == [
        (1, 1, 1),
        (2, 1, 1),
        (1, 1, 2),
        (2, 1, 2),
    ]
    timings = [result.decode, result.preprocess, result.cold_start, *(row.timing for row in result.forward)]
    assert all(0 < timing.p50_ms <= timing.p95_ms and timing.calls >= 5 for timing in timings)
    assert result.cold_start.p50_ms > result.decode.p50_ms
    assert 20e6 < result.cold_start_peak_bytes < 250e6  # and not what this process holds, which has torch in it
    document = json.loads(json.dumps(result.to_dict()))
    assert document["best"] in document["folder"]
    assert document["quickest"] in document["forward"]
    text = bench_text(result)
    assert "generated JPEG, 500×375 as decoded" in text


def test_the_best_setting_and_the_one_that_answers_soonest() -> None:
    """Soonest is said of the smallest batch alone: a larger one takes as long for all of its images."""
    forward = [(1, 1, 5.0), (2, 1, 3.0), (4, 1, 4.0), (2, 8, 2.0)]
    folder = [(1, 1, 1, 10.0), (2, 1, 1, 30.0), (1, 1, 8, 20.0)]
    timing = Timing(1.0, 2.0, 9)
    result = BenchResult(
        model="m.onnx",
        device="cuda:0",
        assignment="all 49 nodes",
        cpus=4,
        image="an image",
        decode=timing,
        preprocess=timing,
        forward=tuple(
            Forward(threads, batch, Timing(ms, ms + 1, 9), 1000 * batch / ms) for threads, batch, ms in forward
        ),
        folder=tuple(Folder(*row) for row in folder),
        cold_start=timing,
        cold_start_peak_bytes=50_000_000,
        warnings=(),
    )
    assert result.quickest == result.forward[1]
    assert result.best == result.folder[1]
    assert bench_text(result).startswith("m.onnx on cuda:0 (all 49 nodes), 4 processors; an image\n")
    soonest, most = bench_text(result).splitlines()[-2:]
    assert "--threads 2 " in soonest
    assert "(3.0 ms" in soonest
    assert "--workers 2 --threads 1 --batch-size 1  (30.0 images/s)" in most


def test_own_image_and_its_errors(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = bench_model(
        tiny, opening=CPU, image=photos / "rocket.jpg", batch_sizes=[1], threads=[1], workers=[1], seconds=0.01
    )
    assert result.image.startswith(f"{photos / 'rocket.jpg'}, 640×427 as decoded")
    with pytest.raises(ImageReadError, match=r"cannot read .*none.jpg"):
        bench_model(tiny, image=tmp_path / "none.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image"):
        bench_model(tiny, image=tmp_path / "bad.jpg", seconds=0.01)
    for wrong in ({"batch_sizes": [0]}, {"threads": [0]}, {"workers": [-1]}, {"seconds": 0.0}):
        with pytest.raises(UsageError, match=r"must be (at least 1|above 0)"):
            bench_model(tiny, **wrong)
