"""What tests of the export side share: models exported here and now, through the real gate."""

import os
import sys
from collections.abc import Callable
from contextlib import chdir
from functools import cache, wraps
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from tests.conftest import REPO, made_once
from torch.onnx._internal.exporter._registration import ONNXRegistry

from torchless_export.export import export_model
from torchless_export.gate import beside
from torchless_export.sources.request import ModelRequest

torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))


beside.can_fork = lambda: False  # not pytest's process, which holds anything: gate/test_beside.py has another fork


def _untraced(function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        tracer = sys.gettrace()
        sys.settrace(None)
        try:
            return function(*arguments, **options)
        finally:
            sys.settrace(tracer)

    return call


# torch's exporter makes its table of operators anew for each network, which is half of the time that a small one takes;
# and coverage looks at each of its calls, which takes half as long again.
ONNXRegistry.from_torchlib = staticmethod(cache(ONNXRegistry.from_torchlib))
torch.onnx.export = _untraced(torch.onnx.export)


def exported(factory: pytest.TempPathFactory, name: str, builder: str) -> Path:
    """The artifact `name`, exported once for all workers."""

    def export(folder: Path) -> None:
        with chdir(REPO):
            export_model(ModelRequest(model=name, builder=builder), output=folder / f"{name}.onnx")

    return made_once(factory, f"exported-{name}", export) / f"{name}.onnx"


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 with real ImageNet weights."""
    return exported(tmp_path_factory, "efficientnet_lite0", "examples.efficientnet_lite:lite0")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What tests/data has a copy of, exported by the torch that is here: a small network of five classes at 32 pixels
    (tests/models.py).
    """
    return exported(tmp_path_factory, "tiny", "tests.models:tiny")


@pytest.fixture(scope="session")
def model_class() -> type:
    """Of the models that `changed` hands out: onnx's own, which its helpers take."""
    return onnx.ModelProto
