"""A served model with preprocessing in the graph: encoded images as usual, and pixels as tensors of any size."""

import base64
from pathlib import Path

import numpy as np
import pytest
from tests.runtime.serve.conftest import Running, running

from torchless import Classifier


@pytest.fixture(scope="module")
def served(pixels: Path):
    with running(pixels, max_batch_size=4) as server:
        yield server


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (2, 40, 50, 3), dtype=np.uint8)


def ask(served: Running, data: object, **changes: object):
    tensor = {"name": "image", "shape": [2, 40, 50, 3], "datatype": "UINT8", "data": data} | changes
    return served.post("/v2/models/pixels/infer", json={"inputs": [tensor]})


def test_encoded_images(served: Running, pixels: Path, photos: Path) -> None:
    for name in ("coffee.png", "rocket.jpg"):
        row = served.post("/classify", content=(photos / name).read_bytes()).json()
        assert (
            row["predictions"][0]["label"]
            == Classifier(pixels, device="cpu").classify(photos / name).predictions[0].label
        )
    data = [base64.b64encode((photos / name).read_bytes()).decode() for name in ("coffee.png", "rocket.jpg")]
    request = {"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": data}]}
    assert served.post("/v2/models/pixels_image/infer", json=request).json()["outputs"][0]["shape"] == [2, 5]


def test_tensors_are_pixels(served: Running, pixels: Path, images: np.ndarray) -> None:
    about = served.client.get("/v2/models/pixels").json()["inputs"]
    assert about == [{"name": "image", "datatype": "UINT8", "shape": [-1, -1, -1, 3]}]
    wanted = Classifier(pixels, device="cpu").logits(list(images))
    np.testing.assert_allclose(
        np.reshape(ask(served, images.ravel().tolist()).json()["outputs"][0]["data"], (2, 5)), wanted, rtol=1e-4
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": [2, 40, 50, 4]}, "expected [-1, -1, -1, 3] with 1 or more for -1, got [2,40,50,4]"),
        ({"shape": [2, 0, 50, 3]}, "with 1 or more for -1"),
        ({"datatype": "FP32"}, "image is UINT8"),
        ({"data": [256] * 12000}, "expected only whole numbers from 0 to 255"),
        ({"data": [0.5] * 12000}, "expected only whole numbers from 0 to 255"),
    ],
)
def test_other_tensors_are_refused(served: Running, images: np.ndarray, changes: dict, message: str) -> None:
    answer = ask(served, **({"data": images.ravel().tolist()} | changes))
    assert answer.status_code == 400
    assert message in answer.json()["error"]


def test_bytes_alone_do_not_tell_a_size(served: Running, images: np.ndarray) -> None:
    headers = {"Inference-Header-Content-Length": "0"}
    answer = served.post("/v2/models/pixels/infer", content=images.tobytes(), headers=headers)
    assert answer.status_code == 400
    assert "which bytes alone do not show" in answer.json()["error"]
