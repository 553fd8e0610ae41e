"""An artifact: which files belong to it, how large they are, and what there is to doubt."""

from pathlib import Path

import pytest

from torchless.errors import ExternalDataError
from torchless.model.artifact import Artifact, manifest_of, read_artifact
from torchless.model.onnxfile import read_onnx


def test_the_files_of_a_model_in_one_file(tiny: Path) -> None:
    artifact = read_artifact(tiny)
    assert artifact.files == (tiny,)
    assert artifact.size == tiny.stat().st_size
    assert artifact.doubts() == ()


def test_the_files_of_a_model_with_its_weights_beside_it(pair: Path) -> None:
    data = pair.with_name("tiny.onnx.data")
    artifact = read_artifact(pair)
    assert artifact.files == (pair, data)
    assert artifact.size == pair.stat().st_size + data.stat().st_size
    data.unlink()
    with pytest.raises(ExternalDataError, match=r"keeps its weights in tiny\.onnx\.data, which is not beside it"):
        artifact.size  # noqa: B018


def test_the_seal_is_read_once(tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(tiny.read_bytes())
    artifact = read_artifact(path)
    assert artifact.doubts() == ()
    path.unlink()
    assert artifact.doubts() == ()


def test_nobody_doubts_what_was_described_by_hand(changed, tiny: Path) -> None:
    """Nor is anything proved of it: whoever describes a file knows that."""
    assert Artifact(read_onnx(changed(manifest="")), manifest_of(read_onnx(tiny))).doubts() == ()
