"""`torchless models`."""

import json
from collections.abc import Callable

import pytest
import torchvision

from torchless.errors import UsageError
from torchless_export.sources.catalog import entries
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest

FAMILIES = (
    "alexnet", "vgg", "googlenet", "inception", "resnet", "resnext", "wide_resnet", "densenet", "squeezenet",
    "shufflenet", "mobilenet", "mnasnet", "efficientnet", "regnet", "convnext", "vit", "swin", "maxvit",
)  # fmt: skip


@pytest.fixture
def run(command_line: Callable[..., tuple[int, str, str]]) -> Callable[..., str]:
    def call(*arguments: str) -> str:
        code, out, _ = command_line("torchless", "models", *arguments)
        assert code == 0
        return out

    return call


def test_a_row_is_what_torchvision_publishes(run) -> None:
    weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
    (row,) = [
        row for row in json.loads(run("--filter", "resnet50 imagenet1k_v2", "--json")) if row["model"] == "resnet50"
    ]
    assert row == {
        "model": "resnet50", "weights": "IMAGENET1K_V2", "default": True, "classifies": True,
        "num_params": weights.meta["num_params"], "gflops": weights.meta["_ops"],
        "file_size_mb": 102.54, "acc@1": weights.meta["_metrics"]["ImageNet-1K"]["acc@1"],
        "acc@5": weights.meta["_metrics"]["ImageNet-1K"]["acc@5"], "dataset": "ImageNet-1K", "image_size": 224,
        "resize_size": 232, "interpolation": "bilinear", "url": weights.url,
    }  # fmt: skip


def test_the_table(run) -> None:
    lines = run("--filter", "squeezenet").splitlines()
    assert lines[0].split() == [
        "model",
        "weights",
        "params",
        "GFLOPs",
        "MB",
        "top-1",
        "top-5",
        "pixels",
        "interpolation",
    ]
    assert lines[1].split() == [
        "squeezenet1_0",
        "IMAGENET1K_V1",
        "*",
        "1.2",
        "M",
        "0.82",
        "5.0",
        "58.09",
        "80.42",
        "224",
        "bilinear",
    ]
    assert lines[-1].startswith("2 models, 2 weights;")


@pytest.mark.parametrize(
    ("key", "field", "descending"),
    [
        ("acc@1", "acc@1", True),
        ("params", "num_params", False),
        ("gflops", "gflops", False),
        ("size", "file_size_mb", False),
    ],
)
def test_sorting(run, key: str, field: str, descending: bool) -> None:
    values = [row[field] for row in json.loads(run("--sort", key, "--filter", "IMAGENET1K_V1", "--json"))]
    assert len(values) > 50
    assert values == sorted(values, reverse=descending)


def test_filters(run) -> None:
    rows = json.loads(run("--min-acc1", "80", "--max-size-mb", "40", "--json"))
    assert rows
    assert all(row["acc@1"] >= 80 and row["file_size_mb"] <= 40 for row in rows)
    assert len(rows) == sum((entry.acc1 or 0) >= 80 and entry.file_size_mb <= 40 for entry in entries())
    assert run("resnet18", "--json") == run("--filter", "resnet18", "--json")
    assert run("nothing-like-it") == "nothing matches; `torchless models` lists all\n"
    assert run("nothing-like-it", "--json") == "[]\n"


def test_a_megabyte_is_a_million_bytes() -> None:
    """As in compare, whose files hold four bytes for each parameter: torchvision's own figures are 2²⁰ bytes."""
    for entry in entries():
        half = entry.model.startswith("wide_resnet") and entry.weights == "IMAGENET1K_V1"  # their files hold float16
        assert entry.file_size_mb > (2 if half else 4) * entry.num_params / 1e6


def test_weights_without_a_classifier_are_listed_as_such_and_refused(run) -> None:
    (row,) = json.loads(run("--filter", "IMAGENET1K_FEATURES", "--json"))
    assert (row["model"], row["classifies"], row["acc@1"]) == ("vgg16", False, None)
    assert "features only: no classifier, cannot be exported" in run("--filter", "IMAGENET1K_FEATURES")
    with pytest.raises(
        UsageError,
        match=r"VGG16_Weights.IMAGENET1K_FEATURES are the weights of a feature extractor.*other weights: IMAGENET1K_V1",
    ):
        load(ModelRequest(model="vgg16", weights="IMAGENET1K_FEATURES"))
