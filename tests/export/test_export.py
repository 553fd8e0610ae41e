"""export_model: what is in the file, and what making it costs."""

import json
import os
from pathlib import Path

import onnx
import pytest
from tests.conftest import REPO

from torchless.model.artifact import read_artifact
from torchless.model.seal import Seal
from torchless_export import export
from torchless_export.convert import to_onnx
from torchless_export.errors import ParityError
from torchless_export.gate.limits import MAX_IR_VERSION
from torchless_export.in_graph.build import InGraph
from torchless_export.sources import images
from torchless_export.verification import verify


def test_the_file_is_as_promised(tiny: Path) -> None:
    model = onnx.load(tiny)
    assert model.ir_version <= MAX_IR_VERSION
    assert [entry.version for entry in model.opset_import] == [20]
    (source,), (target,) = model.graph.input, model.graph.output
    assert (source.name, target.name) == ("input", "logits")
    assert source.type.tensor_type.shape.dim[0].dim_param == target.type.tensor_type.shape.dim[0].dim_param == "batch"


def test_no_path_of_the_exporting_machine_is_in_the_file(tiny: Path) -> None:
    data = tiny.read_bytes()
    for trace in (b"stack_trace", b"fx_node", b"site-packages", os.fsencode(REPO)):
        assert trace not in data


def test_the_library_call_raises_with_the_figures(tmp_path: Path) -> None:
    with pytest.raises(ParityError) as caught:
        export.export_model(
            export.ModelRequest(model="x", builder="tests.models:zero_head"), output=tmp_path / "x.onnx"
        )
    failed = [check for check in caught.value.parity.checks if not check.passed]
    assert [check.name for check in failed] == ["not_vacuous"]
    assert failed[0].figure < failed[0].limit


@pytest.mark.parametrize("in_graph", [None, InGraph(top_k=2)], ids=["plain", "in graph"])
def test_an_export_serialises_its_model_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_graph: InGraph | None
) -> None:
    serialised, real = [], onnx.ModelProto.SerializeToString

    def serialise(model: onnx.ModelProto) -> bytes:
        serialised.append({node.op_type for node in model.graph.node})
        return real(model)

    monkeypatch.chdir(REPO)
    monkeypatch.setattr(onnx.ModelProto, "SerializeToString", serialise)
    request = export.ModelRequest(model="tiny", builder="tests.models:tiny")
    exported = export.export_model(request, output=tmp_path / "tiny.onnx", in_graph=in_graph)
    assert (
        sum("Gemm" in operators for operators in serialised) == 1
    )  # the rest is metadata, and what stands before the network
    assert read_artifact(exported.path).seal is Seal.INTACT


def test_pictures_are_made_for_a_report_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.chdir(REPO)
    monkeypatch.setattr(images.TestImage, "thumbnail", lambda image: made.append(image.record.name) or b"")
    request = export.ModelRequest(model="tiny", builder="tests.models:tiny")
    export.export_model(request, output=tmp_path / "tiny.onnx")
    assert verify(tmp_path / "tiny.onnx").verdict.passed
    assert made == []
    assert len(verify(tmp_path / "tiny.onnx", thumbnails=True).verdict.evidence.sets["photos"].thumbnails) == 8
    assert len(made) == 16


def test_the_manifest_is_readable_by_anybody(tiny: Path) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(tiny).metadata_props}
    assert list(properties) == ["torchless.manifest", "torchless.layers", "torchless.evidence", "torchless.seal"]
    assert json.loads(properties["torchless.manifest"])["produced_by"]["opset"] == to_onnx.DEFAULT_OPSET
