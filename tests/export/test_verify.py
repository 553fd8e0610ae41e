"""`torchless verify`: the whole gate once more, on an artifact that exists, with PyTorch's side built again from its manifest."""

import json
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import pytest
import torch
from PIL import Image
from tests.conftest import REPO
from tests.models import network
from torchvision.models import SqueezeNet1_1_Weights

from torchless.errors import ManifestMissingError, UsageError
from torchless.model.artifact import manifest_of, read_artifact, sha256_of
from torchless.model.manifest import PreprocessChanges
from torchless.model.onnxfile import read_onnx
from torchless_export.convert.write import write_sealed
from torchless_export.errors import WeightsError
from torchless_export.export import export_model
from torchless_export.sources.load import ModelRequest, load
from torchless_export.verify import rebuild, verify


@pytest.fixture
def run(command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(REPO)
    return partial(command_line, "torchless", "verify")


def resealed(path: Path, target: Path, **changes: object) -> Path:
    """A copy with another manifest and a seal that fits: what somebody would make who knows how."""
    manifest = manifest_of(read_onnx(path))
    write_sealed(onnx.load(path), replace(manifest, **changes), (), target)
    return target


def test_an_artifact_with_the_users_images(run, lite0: Path, photos: Path) -> None:
    code, out, err = run(lite0, "--images", photos / "coffee.png", "--images", photos / "c*.png")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0].startswith(f"{lite0}: parity passed on ")
    assert [line.split()[0] for line in lines[2:12]] == [
        "seal", "structure", "labels", "preprocessing", "logits_random", "logits_photos", "logits_yours", "batching", "decision", "not_vacuous",
    ]  # fmt: skip
    assert {line.split()[1] for line in lines[2:12]} == {"ok"}
    assert [line.split()[:2] for line in lines[13:]] == [[name, size] for name in ("random", "photos", "yours") for size in "1238"]


def test_json(run, tiny: Path) -> None:
    code, out, _ = run(tiny, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["parity"]["passed"] is True
    assert found["parity"]["rule"] == "float64"
    assert (found["departure"], found["tf32_metrics"], found["unreadable"]) == (None, [], [])


def test_json_of_a_file_that_cannot_be_run(run, changed: Callable[..., Path]) -> None:
    code, out, _ = run(changed(lambda model: setattr(model, "ir_version", 11)), "--json")
    assert code == 5
    assert json.loads(out)["parity"]["max_abs_error"] is None  # JSON has no infinity


def test_an_image_that_cannot_be_read_is_named_and_the_exit_code_is_1(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    code, out, err = run(tiny, "--images", photos / "coffee.png", "--images", tmp_path / "bad.jpg")
    assert code == 1
    assert "parity passed on 17 images" in out
    assert err.startswith(f"not read: {tmp_path / 'bad.jpg'}: not an image")


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ("empty", "no image in folder"),
        ("*", "none of the images can be used"),  # matches folders alone
        ("narrow.png", "resized, the image would have 37×185000000"),
        ("nothing.jpg", "No such file"),
    ],
)
def test_no_image_at_all(run, tiny: Path, tmp_path: Path, images: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    if images == "narrow.png":
        Image.new("1", (1, 5_000_000)).save(tmp_path / images)
    code, out, err = run(tiny, "--images", tmp_path / images)
    assert (code, out) == (2, "")
    assert message in err


def test_images_from_an_archive(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        archive.write(photos / "coffee.png", "coffee.png")
    assert "parity passed on 17 images" in run(tiny, "--images", tmp_path / "photos.zip")[1]


def test_a_report_that_cannot_be_written_is_refused_first(run, tiny: Path) -> None:
    code, out, err = run(tiny, "--report", "nowhere/report.html")
    assert (code, out) == (2, "")
    assert "there is no folder nowhere" in err


def test_a_changed_file_fails_with_exit_code_5_and_the_place(run, changed: Callable[..., Path]) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))

    path = changed(change)
    code, out, _ = run(path)
    assert code == 5
    assert f"{path}: parity FAILED" in out
    assert {"seal", "logits_random", "logits_photos"} <= {line.split()[0] for line in out.splitlines() if "FAILED" in line.split()}
    assert "where it broke: node node_Conv" in out
    code, out, _ = run(path, "--json")
    found = json.loads(out)
    assert code == 5
    assert found["departure"]["operator"] == "Conv"
    assert found["departure"]["units"] > 100


def test_a_manifest_that_lies_about_preprocessing_is_caught_though_the_seal_fits(run, lite0: Path, tmp_path: Path) -> None:
    spec = manifest_of(read_onnx(lite0)).preprocess
    path = resealed(lite0, tmp_path / "lie.onnx", preprocess=replace(spec, interpolation="bilinear"))
    code, out, _ = run(path)
    assert code == 5
    assert [line.split()[0] for line in out.splitlines() if "FAILED" in line.split()][:2] == [f"{path}:", "preprocessing"]
    assert "where it broke" not in out  # the network is right


def test_cuda_without_a_gpu_is_exit_code_4_at_once(run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless.engine.cuda.driver_problem", lambda index: "no NVIDIA driver is installed")
    code, out, err = run(tiny, "--device", "cuda")
    assert (code, out) == (4, "")
    assert err.startswith("error: cannot use cuda: ")


def test_a_missing_file_and_one_without_a_manifest(run, tmp_path: Path, changed: Callable[..., Path]) -> None:
    assert run(tmp_path / "none.onnx")[0] == 3
    assert run(changed(manifest=""))[0] == 3
    with pytest.raises(ManifestMissingError, match="nothing says which PyTorch model it must equal"):
        verify(changed(manifest=""))


class TestRebuild:
    """Every way in which a model can have been brought."""

    @pytest.fixture(autouse=True)
    def _here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.syspath_prepend(str(REPO))
        monkeypatch.chdir(tmp_path)

    def passed(self, path: Path, **options: object) -> bool:
        return verify(path, **options).verdict.passed

    @pytest.mark.slow
    def test_random_weights(self, tmp_path: Path) -> None:
        path = export_model(ModelRequest(model="squeezenet1_1", weights="none", seed=3, num_classes=7), tmp_path / "a.onnx").path
        assert self.passed(path)

    def test_random_weights_that_come_out_otherwise(self, tmp_path: Path, tiny: Path) -> None:
        info = replace(manifest_of(read_onnx(tiny)).model, state_sha256="0" * 64)
        with pytest.raises(WeightsError, match=r"was made from other weights than the builder tests\.models:tiny gives now: its code or its"):
            verify(resealed(tiny, tmp_path / "tiny.onnx", model=info))

    @pytest.mark.slow
    def test_a_checkpoint_with_labels_and_other_preprocessing(self, tmp_path: Path) -> None:
        saved(tmp_path / "mine.pth")
        (tmp_path / "mine.txt").write_text("ant\nbee\ncat\n")
        changes = PreprocessChanges(image_size=96, mean=(0.5, 0.5, 0.5))
        request = ModelRequest(model="squeezenet1_1", checkpoint=tmp_path / "mine.pth", labels=tmp_path / "mine.txt", changes=changes)
        path = export_model(request, tmp_path / "out" / "mine.onnx").path
        info = manifest_of(read_onnx(path)).model
        assert (info.checkpoint, info.labels_file, info.changes) == ("mine.pth", "mine.txt", changes)
        assert self.passed(path)  # found in the current folder
        (tmp_path / "mine.txt").write_text("ant\ncat\nbee\n")  # another project's, perhaps
        found = verify(path)
        assert found.verdict.passed
        assert "the labels are not compared: mine.txt, which they came from, is neither beside" in found.notes[-1]
        assert verify(path, labels=tmp_path / "mine.txt").verdict.failed == ["labels"]
        (tmp_path / "mine.pth").rename(tmp_path / "moved.pth")
        with pytest.raises(WeightsError, match=r"was made from the checkpoint mine\.pth, which is neither beside it nor here"):
            verify(path)
        assert self.passed(path, checkpoint=tmp_path / "moved.pth")
        saved(tmp_path / "moved.pth", seed=2)
        with pytest.raises(WeightsError, match=r"moved\.pth is not the checkpoint that .* was made from"):
            verify(path, checkpoint=tmp_path / "moved.pth")

    @pytest.mark.slow
    def test_pretrained_weights(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Through torchvision's own loading, from a mirror that holds a file of that name and hash."""
        member = SqueezeNet1_1_Weights.IMAGENET1K_V1
        (tmp_path / "mirror").mkdir()
        made = saved(tmp_path / "made.pth", num_classes=1000)
        made = made.rename(tmp_path / "mirror" / f"squeezenet1_1-{sha256_of(made)[:8]}.pth")
        monkeypatch.setattr(member, "_value_", replace(member.value, url=f"http://127.0.0.1:9/models/{made.name}"))
        monkeypatch.setenv("TORCHLESS_WEIGHTS_MIRROR", str(tmp_path / "mirror"))
        path = export_model(ModelRequest(model="squeezenet1_1"), tmp_path / "real.onnx").path
        info = manifest_of(read_onnx(path)).model
        assert (info.weights, info.url) == (member.name, member.url)
        assert self.passed(path)

    def test_from_nowhere(self, tmp_path: Path, tiny: Path) -> None:
        info = replace(manifest_of(read_onnx(tiny)).model, source="unknown")
        with pytest.raises(WeightsError, match="does not say where the model comes from"):
            rebuild(read_artifact(resealed(tiny, tmp_path / "tiny.onnx", model=info)))

    def test_a_checkpoint_for_a_builders_model_that_had_none(self, tiny: Path, tmp_path: Path) -> None:
        shutil.copy(tiny, tmp_path / "tiny.onnx")
        torch.save(network().state_dict(), tmp_path / "x.pth")
        with pytest.raises(UsageError, match="was not made from a checkpoint"):
            verify(tmp_path / "tiny.onnx", checkpoint=tmp_path / "x.pth")
        with pytest.raises(UsageError, match="was not made with a labels file"):
            verify(tmp_path / "tiny.onnx", labels=tmp_path / "x.txt")

    def test_a_builders_model_with_a_checkpoint_and_with_random_weights(self, tmp_path: Path) -> None:
        body = network()
        with torch.no_grad():
            body[0].weight.mul_(1.5)
        torch.save(body.state_dict(), tmp_path / "own.pth")
        for name, options in (("own", {"checkpoint": tmp_path / "own.pth"}), ("random", {"weights": "none", "seed": 5})):
            path = export_model(ModelRequest(model=name, builder="tests.models:tiny", **options), tmp_path / f"{name}.onnx").path
            assert self.passed(path)

    def test_a_pair_of_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torchless_export.convert.write.MAX_INLINE_BYTES", 1000)
        assert self.passed(export_model(ModelRequest(model="tiny", builder="tests.models:tiny"), tmp_path / "tiny.onnx").path)


def saved(path: Path, *, num_classes: int = 3, seed: int = 1) -> Path:
    """A checkpoint of squeezenet1_1 whose logits are worth comparing."""
    torch.save(load(ModelRequest(model="squeezenet1_1", weights="none", num_classes=num_classes, seed=seed)).module.state_dict(), path)
    return path
