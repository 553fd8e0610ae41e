"""A real model with its preprocessing in the graph, outside this repository's Python: the oldest ONNX Runtime, Node.js,
and Chromium.
"""

import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import onnx
import pytest
from tests.conftest import REPO
from tests.data.__main__ import of_pixels
from tests.install.conftest import Environment
from tests.onnx_model import save_sealed
from tests.surroundings import PATIENCE_S

from torchless import Classifier
from torchless.model.artifact import read_artifact
from torchless.model.evidence import evidence_of
from torchless_export.convert.write import write_sealed
from torchless_export.in_graph.build import InGraph, put_in_graph

pytestmark = pytest.mark.slow

PHOTOS = ("coffee.png", "camera.png", "rocket.jpg")


@pytest.fixture(scope="module")
def in_graph(lite0: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, model, artifact = tmp_path_factory.mktemp("in_graph") / "lite0.onnx", onnx.load(lite0), read_artifact(lite0)
    manifest = put_in_graph(model, artifact.manifest, InGraph(top_k=5))
    write_sealed(model, manifest, (), path, of_pixels(evidence_of(artifact)).to_text())
    return path


@pytest.fixture(scope="module")
def wrong(in_graph: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With one weight changed by a thousandth, and a seal that fits."""
    model = onnx.load(in_graph)
    weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
    weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * np.float32(1.001), weight.name))
    return save_sealed(model, tmp_path_factory.mktemp("wrong") / "lite0.onnx")


@pytest.fixture(scope="module")
def truth(lite0: Path, photos: Path) -> dict[str, list[dict]]:
    """The runtime's predictions with Pillow's preprocessing, which test_install compares with PyTorch's."""
    classifier = Classifier(lite0, device="cpu")
    return {name: classifier.classify(photos / name).to_dict()["predictions"] for name in PHOTOS}


def assert_same(got: list[dict], wanted: list[dict]) -> None:
    assert [(row["index"], row["label"]) for row in got] == [(row["index"], row["label"]) for row in wanted]
    assert [row["probability"] for row in got] == pytest.approx([row["probability"] for row in wanted], abs=1e-3)


def test_the_oldest_onnxruntime(oldest: Environment, in_graph: Path, photos: Path, truth) -> None:
    done = oldest.run("infer", in_graph, *[photos / name for name in PHOTOS], "--format", "jsonl")
    for row in map(json.loads, done.stdout.splitlines()):
        assert_same(row["predictions"], truth[Path(row["image"]).name])
    proof = oldest.run("torchless", "verify", in_graph)
    assert "proved against PyTorch's recorded answers on 12 images" in proof.stdout


def node(*arguments: object) -> subprocess.CompletedProcess[str]:
    assert shutil.which("node") is not None, "this test needs Node.js: make node"
    command = ["node", REPO / "examples" / "node" / "classify.mjs", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)


def test_node(in_graph: Path, photos: Path, tmp_path: Path, truth) -> None:
    (tmp_path / "bad.png").write_bytes(b"no image")
    done = node(in_graph, *[photos / name for name in PHOTOS], tmp_path / "bad.png")
    *rows, bad = map(json.loads, done.stdout.splitlines())
    for row in rows:
        assert_same(row["predictions"], truth[Path(row["image"]).name])
    assert len(rows) == len(PHOTOS), done.stderr
    assert (done.returncode, bad["predictions"]) == (1, [])
    assert "unsupported image format" in bad["error"]


def test_node_says_what_the_model_lacks(lite0: Path, photos: Path) -> None:
    done = node(lite0, photos / "coffee.png")
    assert (done.returncode, done.stdout) == (3, "")
    assert "export it with --preprocess-in-graph --topk-in-graph 5" in done.stderr


def test_node_without_a_model() -> None:
    done = node("nope.onnx", "a.jpg")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert done.stderr.startswith("cannot load the model nope.onnx: ")


def test_node_proves_the_model(in_graph: Path, wrong: Path, lite0: Path, tmp_path: Path) -> None:
    done = node("--verify", in_graph)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.search(r"gives PyTorch's recorded answers on 12 images, within [0-4]\.\d times", done.stdout)
    assert "decoded otherwise" not in done.stdout
    done = node("--verify", wrong)
    assert done.returncode == 5
    assert "does NOT give PyTorch's recorded answers on 12 of 12 images" in done.stdout
    model = onnx.load(in_graph)
    del model.metadata_props[:]
    onnx.save(model, tmp_path / "bare.onnx")
    assert node("--verify", tmp_path / "bare.onnx").returncode == 3


@pytest.fixture(scope="module")
def address():
    """examples/web as `python3 -m http.server` serves it."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=REPO / "examples" / "web")) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()
        thread.join()


def test_the_browser(in_graph: Path, photos: Path, truth, address: str, open_page) -> None:
    page = open_page(address, own=(address, f"blob:{address}"))
    page.set_input_files("#model", in_graph)
    page.wait_for_selector("#image:enabled")
    said = page.locator("#said").inner_text()
    assert said.startswith("The model gives PyTorch's recorded answers on 12 images, within ")
    assert "decoded otherwise" not in said
    for name in PHOTOS:
        page.set_input_files("#image", photos / name)
        page.get_by_text(re.compile(rf"^{re.escape(name)}: \d+ ms")).wait_for()
        rows = page.eval_on_selector_all("#answers tr", "rows => rows.map((row) => ({...row.dataset}))")
        got = [
            {"index": int(row["index"]), "label": row["label"], "probability": float(row["probability"])}
            for row in rows
        ]
        assert_same(got, truth[name])
    assert page.locator("#answers tr").first.inner_text().split("\t")[0].endswith("%")


def test_the_browser_refuses_a_model_that_gives_other_answers(wrong: Path, address: str, open_page) -> None:
    page = open_page(address, own=(address, f"blob:{address}"))
    page.set_input_files("#model", wrong)
    page.get_by_text("That failed: the model does NOT give PyTorch's recorded answers on 12 of 12 images").wait_for()
    assert page.locator("#image").is_disabled()


def test_the_browser_says_what_the_model_lacks(lite0: Path, address: str, open_page) -> None:
    page = open_page(address, own=(address,))
    page.set_input_files("#model", lite0)
    page.get_by_text("That failed: the model does not rank its classes").wait_for()
    assert page.locator("#image").is_disabled()
