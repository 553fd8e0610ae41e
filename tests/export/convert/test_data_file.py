"""Models above protobuf's 2 GB, with the limit lowered so that a small one passes it; `make zoo` has the real two."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import REPO

from torchless import Classifier
from torchless.errors import ExternalDataError
from torchless.model.artifact import sha256_of
from torchless_export.convert import write as seal
from torchless_export.errors import ParityError
from torchless_export.export import export_model
from torchless_export.sources.request import ModelRequest

REQUEST = ModelRequest(model="tiny", builder="tests.models:tiny")
VACUOUS = ModelRequest(model="tiny", builder="tests.models:zero_head")


@pytest.fixture
def export_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Exports the tiny model to out/tiny.onnx as a pair; with other seeds, other weights."""
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(seal, "MAX_INLINE_BYTES", 1000)

    def export(request: ModelRequest = REQUEST) -> Path:
        return export_model(request, output=tmp_path / "out" / "tiny.onnx").path

    return export


@pytest.fixture
def pair(export_pair: Callable[..., Path]) -> Path:
    return export_pair()


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_data_file_beside_the_model_with_its_hash_in_the_manifest(pair: Path, tiny: Path, photos: Path) -> None:
    assert names(pair.parent) == ["tiny.onnx", "tiny.onnx.data"]
    classifier = Classifier(pair, device="cpu")
    assert classifier.manifest.files.data == "tiny.onnx.data"
    assert classifier.manifest.files.sha256 == sha256_of(seal.data_path(pair))
    assert classifier.manifest.parity.passed
    image = photos / "coffee.png"
    np.testing.assert_array_equal(classifier.logits([image]), Classifier(tiny, device="cpu").logits([image]))


def test_both_files_can_be_read_by_the_same_people(pair: Path) -> None:
    assert stat.S_IMODE(pair.stat().st_mode) == stat.S_IMODE(seal.data_path(pair).stat().st_mode)


def test_the_pair_is_found_wherever_it_is_moved(pair: Path, tmp_path: Path, photos: Path) -> None:
    shutil.move(pair.parent, tmp_path / "elsewhere")
    assert Classifier(tmp_path / "elsewhere" / "tiny.onnx", device="cpu").classify(photos / "coffee.png").predictions


def test_missing_short_and_altered_data(pair: Path, tmp_path: Path) -> None:
    data = seal.data_path(pair)
    whole = data.read_bytes()
    altered = bytearray(whole)
    altered[len(whole) // 2] ^= 1
    for content in (whole[:-1], bytes(altered), b""):
        data.write_bytes(content)
        with pytest.raises(
            ExternalDataError, match=r"onnx.data is incomplete, altered, or from another export than .*tiny.onnx"
        ) as caught:
            Classifier(pair, device="cpu")
        assert caught.value.exit_code == 3
    data.unlink()
    with pytest.raises(
        ExternalDataError, match="keeps its weights in tiny.onnx.data, which is not beside it; copy both files together"
    ):
        Classifier(pair, device="cpu")


def test_a_failed_gate_leaves_the_old_pair(pair: Path, export_pair: Callable[..., Path], photos: Path) -> None:
    before = [path.read_bytes() for path in sorted(pair.parent.iterdir())]
    with pytest.raises(ParityError):
        export_pair(VACUOUS)
    assert names(pair.parent) == ["tiny.onnx", "tiny.onnx.data"]
    assert [path.read_bytes() for path in sorted(pair.parent.iterdir())] == before


def test_killed_between_the_two_files_is_noticed(
    pair: Path, export_pair: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """New data beside the old model file: it would run, and answer wrongly, if nobody looked."""
    real = os.replace

    def die_after_the_data(source: Path, target: Path) -> None:
        real(source, target)
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die_after_the_data)
    with pytest.raises(KeyboardInterrupt):
        export_pair(ModelRequest(model="tiny", builder="tests.models:tiny", weights="none"))
    with pytest.raises(ExternalDataError, match="(belongs to|from) another export"):
        Classifier(pair, device="cpu")


def test_a_smaller_model_of_that_name_takes_the_old_data_away(
    pair: Path, export_pair: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(seal, "MAX_INLINE_BYTES", 10**9)
    assert names(export_pair().parent) == ["tiny.onnx"]


def test_a_link_is_followed(export_pair: Callable[..., Path], tmp_path: Path) -> None:
    """As infer does, and so does everything else that writes."""
    (tmp_path / "out").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "out" / "tiny.onnx").symlink_to("../real/v1.onnx")
    (tmp_path / "real" / "v1.onnx").write_bytes(b"an older one")
    export_pair()
    assert (tmp_path / "out" / "tiny.onnx").is_symlink()
    assert sorted(path.name for path in (tmp_path / "real").iterdir()) == ["v1.onnx", "v1.onnx.data"]
    Classifier(tmp_path / "real" / "v1.onnx", device="cpu")
