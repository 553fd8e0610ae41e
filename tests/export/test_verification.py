"""verify: PyTorch's side built again from a manifest, in every way in which a model can have been brought."""

import shutil
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
import torch
from tests.conftest import REPO
from tests.models import network
from torchvision.models import SqueezeNet1_1_Weights

from torchless.errors import UsageError
from torchless.model.artifact import manifest_of, read_artifact, sha256_of
from torchless.model.onnxfile import read_onnx
from torchless.model.preprocessing import PreprocessChanges
from torchless_export.convert.write import write_sealed
from torchless_export.errors import WeightsError
from torchless_export.export import export_model
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest
from torchless_export.verification import rebuild, verify


def resealed(path: Path, target: Path, **changes: object) -> Path:
    """A copy with another manifest and a seal that fits: what somebody would make who knows how."""
    manifest = manifest_of(read_onnx(path))
    write_sealed(onnx.load(path), replace(manifest, **changes), (), target)
    return target


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
        path = export_model(
            ModelRequest(model="squeezenet1_1", weights="none", seed=3, num_classes=7), output=tmp_path / "a.onnx"
        ).path
        assert self.passed(path)

    def test_random_weights_that_come_out_otherwise(self, tmp_path: Path, tiny: Path) -> None:
        info = replace(manifest_of(read_onnx(tiny)).model, state_sha256="0" * 64)
        with pytest.raises(
            WeightsError,
            match=r"was made from other weights than the builder tests\.models:tiny gives now: its code or its",
        ):
            verify(resealed(tiny, tmp_path / "tiny.onnx", model=info))

    @pytest.mark.slow
    def test_a_checkpoint_with_labels_and_other_preprocessing(self, tmp_path: Path) -> None:
        saved(tmp_path / "mine.pth")
        (tmp_path / "mine.txt").write_text("ant\nbee\ncat\n")
        changes = PreprocessChanges(crop=(96, 96), mean=(0.5, 0.5, 0.5))
        request = ModelRequest(
            model="squeezenet1_1", checkpoint=tmp_path / "mine.pth", labels=tmp_path / "mine.txt", changes=changes
        )
        path = export_model(request, output=tmp_path / "out" / "mine.onnx").path
        info = manifest_of(read_onnx(path)).model
        assert (info.checkpoint, info.labels_file, info.changes) == ("mine.pth", "mine.txt", changes)
        assert self.passed(path)  # found in the current folder
        (tmp_path / "mine.txt").write_text("ant\ncat\nbee\n")  # another project's, perhaps
        found = verify(path)
        assert found.verdict.passed
        assert "the labels are not compared: mine.txt, which they came from, is neither beside" in found.notes[-1]
        assert verify(path, labels=tmp_path / "mine.txt").verdict.failed == ["labels"]
        (tmp_path / "mine.pth").rename(tmp_path / "moved.pth")
        with pytest.raises(
            WeightsError, match=r"was made from the checkpoint mine\.pth, which is neither beside it nor here"
        ):
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
        path = export_model(ModelRequest(model="squeezenet1_1"), output=tmp_path / "real.onnx").path
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
        for name, options in (
            ("own", {"checkpoint": tmp_path / "own.pth"}),
            ("random", {"weights": "none", "seed": 5}),
        ):
            path = export_model(
                ModelRequest(model=name, builder="tests.models:tiny", **options), output=tmp_path / f"{name}.onnx"
            ).path
            assert self.passed(path)

    def test_a_pair_of_files(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("torchless_export.convert.write.MAX_INLINE_BYTES", 1000)
        assert self.passed(
            export_model(ModelRequest(model="tiny", builder="tests.models:tiny"), output=tmp_path / "tiny.onnx").path
        )


def saved(path: Path, *, num_classes: int = 3, seed: int = 1) -> Path:
    """A checkpoint of squeezenet1_1 whose logits are worth comparing."""
    torch.save(
        load(
            ModelRequest(model="squeezenet1_1", weights="none", num_classes=num_classes, seed=seed)
        ).module.state_dict(),
        path,
    )
    return path
