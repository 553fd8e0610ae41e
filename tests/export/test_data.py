"""tests/data is what the code makes today; if not: python -m tests.data. What may differ between machines and versions
is left out.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from google.protobuf import descriptor_pb2
from tests.data import DATA
from tests.data.__main__ import derive

from torchless.model.artifact import read_artifact


@pytest.fixture(scope="module")
def made(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    derive(tiny, folder)
    (folder / "tiny.onnx").write_bytes(tiny.read_bytes())
    return folder


def graph_of(model: onnx.ModelProto) -> list[Any]:
    nodes = [
        (node.op_type, list(node.input), list(node.output), sorted(map(str, node.attribute)))
        for node in model.graph.node
    ]
    return [
        nodes,
        list(map(str, model.graph.input)),
        list(map(str, model.graph.output)),
        model.opset_import[0].version,
        model.ir_version,
    ]


def manifest_of(path: Path) -> dict[str, Any]:
    """Without measured figures, versions and hashes of weights."""
    manifest = json.loads(read_artifact(path).manifest.to_json())
    parity = manifest.pop("parity")
    del manifest["produced_by"], manifest["model"]["state_sha256"]
    if manifest["files"]:
        del manifest["files"]["sha256"]
    return manifest | {
        "parity": sorted(parity),
        "checks": [(check["name"], check["passed"]) for check in parity["checks"]],
    }


@pytest.mark.parametrize("name", ["tiny.onnx", "pair/tiny.onnx", "pixels.onnx"])
def test_the_models(made: Path, name: str) -> None:
    ours, theirs = onnx.load(DATA / name), onnx.load(made / name)
    assert graph_of(ours) == graph_of(theirs)
    assert [weight.name for weight in ours.graph.initializer] == [weight.name for weight in theirs.graph.initializer]
    for ours_weight, theirs_weight in zip(ours.graph.initializer, theirs.graph.initializer, strict=True):
        np.testing.assert_allclose(*map(onnx.numpy_helper.to_array, (ours_weight, theirs_weight)), rtol=1e-5, atol=1e-6)
    assert manifest_of(DATA / name) == manifest_of(made / name)


def test_nothing_else_is_there(made: Path) -> None:
    def files(folder: Path) -> set[Path]:
        return {
            path.relative_to(folder)
            for path in folder.rglob("*")
            if path.is_file() and path.suffix not in (".py", ".pyc")
        }

    assert files(DATA) == files(made)


def test_the_schema(made: Path) -> None:
    """Fields that an older or newer ONNX has too are the same there."""
    ours, theirs = (
        {
            (message.name, field.name): (field.number, field.type, field.label, field.type_name)
            for message in descriptor_pb2.FileDescriptorProto.FromString(
                (folder / "onnx.descriptor").read_bytes()
            ).message_type
            for field in message.field
        }
        for folder in (DATA, made)
    )
    both = set(ours) & set(theirs)
    assert {("ModelProto", "graph"), ("GraphProto", "initializer"), ("TensorProto", "raw_data")} <= both
    assert {name: ours[name] for name in both} == {name: theirs[name] for name in both}
