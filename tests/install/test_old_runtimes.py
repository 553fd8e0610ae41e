"""An older opset in the ONNX Runtime of its time, without torchless: what `--opset` is for."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.install.conftest import Environment

from torchless.model.preprocessing import PreprocessChanges
from torchless_export.export import export_model
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.version_info >= (3, 13), reason="ONNX Runtime 1.17 has wheels up to Python 3.12"),
]

REQUEST = ModelRequest(model="mobilenet_v3_small", weights="none", changes=PreprocessChanges(crop=(64, 64)))
RUN = """
import sys, numpy, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
numpy.save(sys.argv[3], session.run(["logits"], {"input": numpy.load(sys.argv[2])})[0])
"""


@pytest.fixture(scope="module")
def of_2024(make_environment: Callable[..., Environment]) -> Environment:
    return make_environment("onnxruntime-1.17", "onnxruntime==1.17.0", "numpy==1.26.4")


def test_opset_17_in_onnxruntime_1_17(of_2024: Environment, tmp_path: Path) -> None:
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))
    np.save(tmp_path / "images.npy", images.numpy())
    export_model(REQUEST, output=tmp_path / "model.onnx", opset=17)
    of_2024.run("python", "-c", RUN, tmp_path / "model.onnx", tmp_path / "images.npy", tmp_path / "logits.npy")
    with torch.inference_mode():
        wanted = load(REQUEST).module(images).numpy()
    np.testing.assert_allclose(np.load(tmp_path / "logits.npy"), wanted, atol=1e-4 * np.ptp(wanted))


def test_what_is_exported_by_default_is_too_new_for_it(of_2024: Environment, tiny: Path, tmp_path: Path) -> None:
    done = of_2024.run("python", "-c", RUN, tiny, tmp_path / "none.npy", tmp_path / "logits.npy", code=1)
    assert "Unsupported model IR version: 10, max supported IR version: 9" in done.stderr
