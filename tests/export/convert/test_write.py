"""A file that is written twice: the second time only what follows its model."""

from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from torchless.model.artifact import read_artifact
from torchless.proof.checks import check_seal
from torchless_export.convert.write import write_sealed


@pytest.mark.parametrize(("first", "second"), [("short", "long" * 50_000), ("long" * 50_000, "short"), (None, None)])
def test_the_second_writing_leaves_what_one_alone_would(
    tiny: Path, tmp_path: Path, first: str | None, second: str | None
) -> None:
    manifest = read_artifact(tiny).manifest
    file = write_sealed(onnx.load(tiny), replace(manifest, parity=None), (), tmp_path / "twice.onnx", first)
    file.write(manifest, second)
    write_sealed(onnx.load(tiny), manifest, (), tmp_path / "once.onnx", second)
    assert file.path.read_bytes() == (tmp_path / "once.onnx").read_bytes()
    assert check_seal(read_artifact(file.path)).passed
