"""The seal: what was changed after the export is noticed, and what was not proved is said to be so."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import onnx_model

from torchless.engine.classifier import Classifier
from torchless.errors import ArtifactDamagedError, ArtifactNotFoundError
from torchless.model.artifact import manifest_of, read_artifact
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import read_onnx
from torchless.model.seal import SEAL_KEY, Seal, check_seal


def seal_of(path: Path) -> Seal:
    return check_seal(read_onnx(path))


def doubts_of(path: Path) -> tuple[str, ...]:
    return read_artifact(path).doubts()


def test_an_export_is_sealed(tiny: Path) -> None:
    assert seal_of(tiny) == Seal.INTACT
    assert doubts_of(tiny) == ()
    assert [entry.key for entry in onnx_model.load(tiny).metadata_props][-1] == SEAL_KEY


def test_a_copy_and_an_unchanged_resave_keep_the_seal(tiny: Path, tmp_path: Path) -> None:
    onnx_model.save(onnx_model.load(tiny), tmp_path / "again.onnx")
    assert seal_of(tmp_path / "again.onnx") == Seal.INTACT


@settings(max_examples=100)
@given(data=st.data())
def test_any_changed_byte_breaks_it(tiny: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Or makes a file that cannot be read at all."""
    content = bytearray(tiny.read_bytes())
    position = data.draw(st.integers(0, len(content) - 1))
    content[position] ^= data.draw(st.integers(1, 255))
    path = tmp_path_factory.mktemp("flip") / "flipped.onnx"
    path.write_bytes(content)
    with suppress(ArtifactDamagedError):
        assert seal_of(path) != Seal.INTACT


def test_another_weight_breaks_it(changed: Callable[..., Path]) -> None:
    def change(model: onnx_model.ModelProto) -> None:
        weight = next(weight for weight in model.graph.initializer if weight.raw_data)
        weight.raw_data = weight.raw_data[:-1] + bytes([weight.raw_data[-1] ^ 1])

    path = changed(change)
    assert seal_of(path) == Seal.CHANGED
    (doubt,) = doubts_of(path)
    assert "was changed after it was sealed: its verdict no longer holds" in doubt
    Classifier(path, device="cpu")  # a warning, not a refusal


def test_another_manifest_breaks_it(changed: Callable[..., Path], tiny: Path) -> None:
    def relabel(model: onnx_model.ModelProto) -> None:
        entry = next(entry for entry in model.metadata_props if entry.key == Manifest.KEY)
        entry.value = entry.value.replace('"zero"', '"nil"')

    assert seal_of(changed(relabel)) == Seal.CHANGED


def test_no_seal_and_no_verdict(changed: Callable[..., Path], tiny: Path) -> None:
    manifest = replace(manifest_of(read_onnx(tiny)), parity=None)
    path = changed(manifest=manifest.to_json())
    assert seal_of(path) == Seal.MISSING
    verdict, seal = doubts_of(path)
    assert "has no verdict of the parity gate" in verdict
    assert "has no seal" in seal


def test_a_file_that_vanishes(changed: Callable[..., Path]) -> None:
    path = changed()
    file = read_onnx(path)
    path.unlink()
    with pytest.raises(ArtifactNotFoundError, match="cannot read"):
        check_seal(file)
