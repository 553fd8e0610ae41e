"""serve --self-test: a model is served only if it gives the answers of PyTorch that it carries."""

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests import onnx_model
from tests.runtime.serve.conftest import running

from torchless.errors import EvidenceMissingError, ProofError
from torchless.model.artifact import read_artifact


def spoilt(source: Path, target: Path) -> Path:
    """With another weight, and a seal that fits."""
    model = onnx_model.load(source)
    weight = onnx_model.first_weight(model)
    weight.raw_data = (np.frombuffer(weight.raw_data, np.float32) * np.float32(1.01)).tobytes()
    return onnx_model.save_sealed(model, target)


def test_it_is_said_and_served(tiny: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "torchless.serve"), running(tiny, self_test=True):
        pass
    assert "model tiny gives PyTorch's answers on the 2 images inside it" in caplog.text


def test_it_refuses_to_start(tiny: Path, tmp_path: Path, changed: Callable[..., Path]) -> None:
    path = spoilt(tiny, tmp_path / "tiny.onnx")
    with pytest.raises(ProofError, match=r"does not give PyTorch's answers here \(cpu\): logits: ") as refused:
        running(path, self_test=True).__enter__()
    assert refused.value.exit_code == 5
    with pytest.raises(EvidenceMissingError):
        running(changed(manifest=read_artifact(tiny).manifest.to_json()), self_test=True).__enter__()
    with running(path):  # off by default
        pass


def test_a_model_that_is_loaded_by_request(tiny: Path, tmp_path: Path) -> None:
    path = Path(shutil.copy(tiny, tmp_path / "tiny.onnx"))
    with running(path, self_test=True, allow_model_control=True) as server:
        path.unlink()
        spoilt(tiny, path)
        refused = server.post("/v2/repository/models/tiny/load")
        assert refused.status_code == 400
        assert "does not give PyTorch's answers here (cpu): logits: " in refused.json()["error"]
        assert server.client.get("/v2/models/tiny/ready").status_code == 200  # the old one serves on


def test_the_command(command_line: Callable[..., tuple[int, str, str]], tiny: Path, tmp_path: Path) -> None:
    code, _, err = command_line("torchless", "serve", spoilt(tiny, tmp_path / "tiny.onnx"), "--self-test")
    assert code == 5
    assert "does not give PyTorch's answers here" in err
