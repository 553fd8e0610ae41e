"""Artifacts without the gate, which takes seconds a model, and comparisons to draw."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from torchless.doctor.machine import Machine
from torchless.timing import Timing
from torchless_export.compare.comparison import Comparison, Errors, Row, Speed
from torchless_export.compare.families import family_of
from torchless_export.compare.subjects import LATER, TUTORIAL
from torchless_export.export import write_unproved
from torchless_export.sources import catalog
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest


@pytest.fixture(scope="session")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's squeezenet1_1 with random weights."""
    path = tmp_path_factory.mktemp("artifacts") / "squeezenet1_1.onnx"
    write_unproved(load(ModelRequest(model="squeezenet1_1", weights="none")), path)
    return path


def comparison_of(names: tuple[str, ...] = TUTORIAL + LATER, *, gpu: bool = False, seed: int = 0) -> Comparison:
    """The published errors, sizes and GFLOPs of these models; the times are drawn at random, near what the GFLOPs make
    likely.
    """
    chance = random.Random(seed)
    rows = tuple(_row(name, chance, gpu) for name in names)
    return Comparison(
        rows=rows,
        failures=(),
        machine=Machine(
            processor="a processor", cpus=2, memory_gb=24, system="Linux x86_64", gpu="a GPU" if gpu else None
        ),
        versions={"python": "3.12", "onnxruntime": "1.32.0"},
        threads=2,
        rounds=3,
        seconds=1.0,
        no_gpu=None if gpu else "no NVIDIA driver is installed",
        date="2026-11-25",
    )


@pytest.fixture(scope="session")
def make_comparison() -> Callable[..., Comparison]:
    return comparison_of


def _row(name: str, chance: random.Random, gpu: bool) -> Row:
    weights = catalog.find_weights(name, "DEFAULT")
    published, parameters = catalog.published(weights), weights.meta["num_params"]
    p50 = published.gflops * 15 * chance.uniform(0.6, 1.6) + 4
    return Row(
        model=name,
        architecture=name,
        family=family_of(name).name,
        file=f"{name}.onnx",
        sha256="0" * 64,
        weights=None,
        size_bytes=4 * parameters,
        parameters=parameters,
        gflops=published.gflops,
        image_size=weights.transforms().crop_size[0],
        errors=Errors(
            source="published",
            of=weights.name,
            top1=round(100 - published.acc1, 3),
            top5=round(100 - published.acc5, 3),
        ),
        no_errors=None,
        decode=Timing(3.0, 3.5, 50),
        preprocess=Timing(2.0, 2.5, 50),
        cpu=_speed(p50),
        gpu=_speed(p50 / 20) if gpu else None,
        peak_bytes=8 * parameters + 10**8,
    )


def _speed(p50: float) -> Speed:
    return Speed(
        single=Timing(p50, 1.2 * p50, 50), low_ms=0.95 * p50, high_ms=1.1 * p50, images_per_second=1200 / p50, rounds=3
    )
