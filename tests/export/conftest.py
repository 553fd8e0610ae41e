"""What tests of the export side share: models exported here and now, through the real gate."""

import os
from contextlib import chdir
from pathlib import Path

import onnx
import pytest
import torch
from tests.conftest import REPO, made_once

from torchless_export.export import export_model
from torchless_export.sources.request import ModelRequest

torch.set_num_threads(min(2, len(os.sched_getaffinity(0))))


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
