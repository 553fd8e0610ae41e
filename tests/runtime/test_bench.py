import json
from pathlib import Path

import pytest

from torchless.bench import bench_model
from torchless.cli.bench import bench_text
from torchless.engine.options import ModelOptions
from torchless.errors import ImageError, ImageReadError, UsageError

CPU = ModelOptions(device="cpu")


def test_everything_is_measured(tiny: Path) -> None:
    result = bench_model(tiny, opening=CPU, batch_sizes=[2, 1], threads=[1], workers=[1, 2], seconds=0.01)
    assert [(row.threads, row.batch_size) for row in result.forward] == [(1, 1), (1, 2)]
    assert [(row.workers, row.threads, row.batch_size) for row in result.folder] == [(1, 1, 1), (2, 1, 1), (1, 1, 2), (2, 1, 2)]
    timings = [result.decode, result.preprocess, result.cold_start, *(row.timing for row in result.forward)]
    assert all(0 < timing.p50_ms <= timing.p95_ms and timing.calls >= 5 for timing in timings)
    assert result.cold_start.p50_ms > result.decode.p50_ms
    assert 20e6 < result.cold_start_peak_bytes < 250e6  # and not what this process holds, which has torch in it
    assert result.quickest.batch_size == 1
    assert result.best.images_per_second == max(row.images_per_second for row in result.folder)
    document = json.loads(json.dumps(result.to_dict()))
    assert document["best"] in document["folder"]
    assert document["quickest"] in document["forward"]
    text = bench_text(result)
    assert "made-up JPEG, 500×375 as decoded" in text
    assert f"--workers {result.best.workers} --threads 1 --batch-size {result.best.batch_size}" in text.splitlines()[-1]


def test_own_image_and_its_errors(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = bench_model(tiny, opening=CPU, image=photos / "rocket.jpg", batch_sizes=[1], threads=[1], workers=[1], seconds=0.01)
    assert result.image.startswith(f"{photos / 'rocket.jpg'}, 640×427 as decoded")
    with pytest.raises(ImageReadError, match=r"cannot read .*none.jpg"):
        bench_model(tiny, image=tmp_path / "none.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    with pytest.raises(ImageError, match="not an image"):
        bench_model(tiny, image=tmp_path / "bad.jpg", seconds=0.01)
    for wrong in ({"batch_sizes": [0]}, {"threads": [0]}, {"workers": [-1]}, {"seconds": 0.0}):
        with pytest.raises(UsageError, match=r"must be (at least 1|above 0)"):
            bench_model(tiny, **wrong)
