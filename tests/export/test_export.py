"""export_model: what is in the file, and what making it costs."""

import json
import os
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image
from tests.conftest import REPO
from tests.data import LABELS
from tests.models import network, preset
from torchvision.transforms import v2
from torchvision.transforms._presets import ImageClassification

from torchless.engine.classifier import Classifier
from torchless.errors import ImageSizeError, UsageError
from torchless.model.artifact import read_artifact
from torchless.model.seal import Seal
from torchless_export import export
from torchless_export.convert import to_onnx
from torchless_export.errors import ParityError, WeightsError
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


def brighter() -> ImageClassification:
    """Of the preset's numbers, but not of its pixels."""
    changed, plain = preset(), preset()
    changed.forward = lambda image: plain(image) + 0.1
    return changed


class TestALiveNetwork:
    def test_everything_of_it(self, tmp_path: Path, photos: Path) -> None:
        """Under a default device that has no values, which a script may have set to its GPU."""
        own, path = network().train(), tmp_path / "pets.onnx"
        torch.set_default_device("meta")
        try:
            exported = export.export_model(
                own, transform=preset(), labels=LABELS, output=path, examples=[photos / "coffee.png"]
            )
        finally:
            torch.set_default_device(None)
        manifest = exported.manifest
        assert (manifest.model.name, manifest.model.source, manifest.assumed) == ("pets", "module", ("activation",))
        assert manifest.parity.judges[-1].set == images.YOURS
        assert manifest.parity.judges[-1].name == "coffee.png"
        assert "logits_yours" in [check.name for check in manifest.parity.checks]
        assert own.training
        text = str(exported)
        assert "\nparity passed on 17 images:\n" in text
        assert "\narchitecture the live network torch.nn.modules.container.Sequential\ntransform    resize " in text
        assert "\nlabels       5: 'zero' … 'four', given with the network" in text
        with pytest.raises(WeightsError, match=r"pets\.onnx was exported from a live network, which is gone"):
            verify(path)

    def test_a_transform_of_other_pixels_than_its_numbers_say(self, tmp_path: Path) -> None:
        """The runtime's preprocessing is compared with the very callable."""
        with pytest.raises(ParityError) as caught:
            export.export_model(network(), transform=brighter(), labels=LABELS, output=tmp_path / "x.onnx")
        assert "preprocessing" in caught.value.failed

    def test_a_transform_that_fixes_no_size(self, tmp_path: Path) -> None:
        steps = [v2.Resize(32), v2.ToImage(), v2.ToDtype(torch.float32, scale=True)]
        example = Image.new("RGB", (120, 96), "teal")
        path = tmp_path / "model.onnx"
        exported = export.export_model(
            network(), transform=v2.Compose(steps), labels=LABELS, output=path, examples=[example]
        )
        assert exported.manifest.input.shape == ("batch", 3, 32, 40)
        assert exported.manifest.model.name == "Sequential"
        classifier = Classifier(path, device="cpu")
        assert classifier.classify(example).ok
        with pytest.raises(ImageSizeError, match="takes images of 40×32 pixels"):
            classifier.classify(Image.new("RGB", (64, 64)))

    def test_what_does_not_go_together(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="`transform` goes with a live network; a ModelRequest holds its own"):
            export.export_model(export.ModelRequest(model="x"), transform=preset(), output=tmp_path / "x.onnx")
        with pytest.raises(UsageError, match=r"`model` takes a torch\.nn\.Module or a ModelRequest, got str"):
            export.export_model("resnet50", output=tmp_path / "x.onnx")


def test_a_builders_own_transform_is_what_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.models.tiny", lambda: (network(), brighter(), LABELS))
    with pytest.raises(ParityError) as caught:
        export.export_model(
            export.ModelRequest(model="tiny", builder="tests.models:tiny"), output=tmp_path / "tiny.onnx"
        )
    assert "preprocessing" in caught.value.failed


def test_the_manifest_is_readable_by_anybody(tiny: Path) -> None:
    properties = {entry.key: entry.value for entry in onnx.load(tiny).metadata_props}
    assert list(properties) == ["torchless.manifest", "torchless.layers", "torchless.evidence", "torchless.seal"]
    assert json.loads(properties["torchless.manifest"])["produced_by"]["opset"] == to_onnx.DEFAULT_OPSET
