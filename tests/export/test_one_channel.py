"""A network of one channel that gives one number, from its transform to what answers requests."""

from contextlib import chdir
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image
from tests import models
from tests.conftest import REPO, made_once
from tests.runtime.serve.conftest import running

from torchless import Classifier
from torchless.model.artifact import read_artifact
from torchless.triton.config import config_text
from torchless.triton.interface import read_interface
from torchless.triton.options import TritonOptions
from torchless_export.export import export_model
from torchless_export.in_graph.build import InGraph
from torchless_export.sources.request import ModelRequest

REQUEST = ModelRequest(model="grey", builder="tests.models:grey", activation="sigmoid")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def export(folder: Path) -> None:
        with chdir(REPO):
            export_model(REQUEST, output=folder / "grey.onnx")
            export_model(REQUEST, output=folder / "inside.onnx", in_graph=InGraph(top_k=2))

    return made_once(tmp_path_factory, "exported-grey", export)


def test_the_answers_are_pytorchs_on_grey_images(folder: Path, photos: Path) -> None:
    module, transform, labels = models.grey()
    classifier = Classifier(folder / "grey.onnx", device="cpu")
    assert (classifier.manifest.preprocess.channels, classifier.manifest.preprocess.scale) == (1, "multiply")
    for name in ("coffee.png", "camera.png", "rocket.jpg"):
        image = Image.open(photos / name)
        logit = module(transform(image.convert("RGB").convert("L"))[None]).item()
        found = {each.label: each.probability for each in classifier.classify(photos / name).predictions}
        assert found[labels[1]] == pytest.approx(1 / (1 + np.exp(-logit)), abs=1e-5)
        assert sum(found.values()) == pytest.approx(1)


def test_the_graph_does_it_all(folder: Path, photos: Path) -> None:
    plain = Classifier(folder / "grey.onnx", device="cpu")
    session = onnxruntime.InferenceSession(folder / "inside.onnx")
    for name in ("coffee.png", "camera.png", "rocket.jpg"):
        pixels = np.asarray(Image.open(photos / name).convert("RGB"))
        probabilities, labels = session.run(["top_probabilities", "top_labels"], {"image": pixels})
        wanted = plain.classify(photos / name).predictions
        assert labels.tolist() == [each.label for each in wanted]
        np.testing.assert_allclose(probabilities, [each.probability for each in wanted], atol=1e-5)
    checks = {check.name: check.figure for check in read_artifact(folder / "inside.onnx").manifest.parity.checks}
    assert checks["pixels_differing"] == 0


def test_what_serves_it_says_one_channel(folder: Path) -> None:
    with running(folder / "grey.onnx") as server:
        (tensor,) = server.client.get("/v2/models/grey").json()["inputs"]
        assert tensor["shape"] == [-1, 1, 28, 36]
        data = torch.zeros(28 * 36).tolist()
        request = {"inputs": [{"name": tensor["name"], "shape": [1, 1, 28, 36], "datatype": "FP32", "data": data}]}
        assert server.post("/v2/models/grey/infer", json=request).status_code == 200
    assert "dims: [1, 28, 36]" in config_text("grey", read_interface(folder / "grey.onnx"), TritonOptions())
