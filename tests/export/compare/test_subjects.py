"""What is compared, and what torchvision publishes of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torchvision

from torchless.errors import ArtifactNotFoundError, UsageError
from torchless.model.artifact import read_artifact, sha256_of
from torchless.model.manifest import Manifest, ModelInfo, Published
from torchless.model.preprocessing import PreprocessChanges
from torchless_export.compare.families import OTHER, family_of
from torchless_export.compare.published import published_figures
from torchless_export.compare.subjects import LATER, TUTORIAL, Subject, find_subjects
from torchless_export.errors import UnknownModelError
from torchless_export.export import write_unproved
from torchless_export.sources.catalog import model_names
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest


def find(*models: object, folder: Path, weights: str = "none") -> list[Subject]:
    return find_subjects([str(model) for model in models], weights=weights, folder=folder, progress=lambda _: None)


def test_artifacts(tiny: Path, squeezenet: Path, tmp_path: Path) -> None:
    found = find(tiny, squeezenet, tiny, folder=tmp_path)
    assert [subject.name for subject in found] == ["tiny", "squeezenet1_1"]
    assert (found[0].size_bytes, found[0].sha256) == (tiny.stat().st_size, sha256_of(tiny))


def test_artifacts_of_one_model_are_told_apart(tiny: Path, tmp_path: Path) -> None:
    for name in ("a/one.onnx", "a/two.onnx", "b/two.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(tiny, tmp_path / name)
    found = find(*sorted(tmp_path.glob("?/*.onnx")), folder=tmp_path)
    assert [subject.name for subject in found] == ["one", str(tmp_path / "a/two.onnx"), str(tmp_path / "b/two.onnx")]


def test_a_name_is_exported_through_the_gate_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    for _ in range(2):
        (subject,) = find_subjects(["squeezenet1_1"], weights="none", folder=tmp_path / "new", progress=said.append)
    assert said == [f"exporting squeezenet1_1 (1 of 1) to {tmp_path / 'new' / 'squeezenet1_1.onnx'}"]
    assert subject.manifest.parity.passed
    assert subject.manifest.model.weights is None


def test_a_file_with_other_weights_is_no_stand_in(squeezenet: Path) -> None:
    with pytest.raises(
        UsageError,
        match=r"holds squeezenet1_1 with weights none, not squeezenet1_1 with weights IMAGENET1K_V1; give the file",
    ):
        find("squeezenet1_1", folder=squeezenet.parent, weights="DEFAULT")


def test_a_file_with_another_preprocessing_is_no_stand_in_either(tmp_path: Path) -> None:
    request = ModelRequest(model="squeezenet1_1", weights="none", changes=PreprocessChanges(crop=(64, 64)))
    write_unproved(load(request), tmp_path / "squeezenet1_1.onnx")
    with pytest.raises(
        UsageError,
        match="holds squeezenet1_1 with weights none, and another preprocessing, not squeezenet1_1 with weights none",
    ):
        find("squeezenet1_1", folder=tmp_path)


def test_a_file_that_was_never_proved_is_warned_of(squeezenet: Path) -> None:
    said: list[str] = []
    find_subjects([str(squeezenet)], weights="none", folder=squeezenet.parent, progress=said.append)
    assert [line.startswith(f"warning: {squeezenet}") for line in said] == [True]


def test_names_and_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError, match="did you mean resnet50"):
        find("squeezenet1_1", "resnet5O", folder=tmp_path)
    with pytest.raises(ArtifactNotFoundError, match=r"no file .*none.onnx"):
        find(tmp_path / "none.onnx", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_sets(monkeypatch: pytest.MonkeyPatch, squeezenet: Path) -> None:
    asked: list[str] = []
    monkeypatch.setattr(
        "torchless_export.compare.subjects._export_missing",
        lambda names, *_: asked.extend(names) or [squeezenet for _ in names],
    )
    find("tutorial", folder=squeezenet.parent)
    assert asked == [*TUTORIAL, *LATER]
    assert set(asked) <= set(model_names())
    asked.clear()
    find("all", folder=squeezenet.parent)
    assert asked == model_names()


def test_every_family_of_torchvision_has_a_colour_of_its_own() -> None:
    families = {family_of(name) for name in model_names()}
    assert OTHER not in families
    assert len({family.color for family in families}) == len(families) == 17
    assert {family_of(name) for name in TUTORIAL + LATER} == families
    assert family_of("my_net") == OTHER


@pytest.fixture
def untrained(squeezenet: Path) -> Manifest:
    return read_artifact(squeezenet).manifest


def test_of_an_untrained_model_the_figures_of_named_weights(untrained: Manifest) -> None:
    found = published_figures(untrained, "DEFAULT")
    metrics = torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]
    assert (found.errors.source, found.errors.of) == ("published", "IMAGENET1K_V1")
    assert (found.errors.top1, found.errors.top5) == pytest.approx((100 - metrics["acc@1"], 100 - metrics["acc@5"]))
    assert found.gflops == torchvision.models.SqueezeNet1_1_Weights.IMAGENET1K_V1.meta["_ops"]


def test_the_weights_can_be_chosen(untrained: Manifest) -> None:
    resnet50 = replace(untrained, model=replace(untrained.model, name="resnet50"))
    first, default = (published_figures(resnet50, name).errors for name in ("IMAGENET1K_V1", "DEFAULT"))
    assert (first.of, first.top1) == ("IMAGENET1K_V1", pytest.approx(23.87))
    assert (default.of, default.top1) == ("IMAGENET1K_V2", pytest.approx(19.142))


def test_nothing_is_published_for_another_size_other_classes_or_weights_that_are_not(untrained: Manifest) -> None:
    size = replace(untrained, preprocess=replace(untrained.preprocess, crop=(64, 64)))
    classes = replace(untrained, labels=("a", "b"))
    for manifest, weights, why in (
        (size, "DEFAULT", "torchvision publishes no errors of IMAGENET1K_V1 for 1000 classes at 64×64 pixels"),
        (classes, "DEFAULT", "torchvision publishes no errors of IMAGENET1K_V1 for 2 classes at 224×224 pixels"),
        (
            untrained,
            "IMAGENET1K_V2",
            "torchvision publishes no errors of IMAGENET1K_V2 for 1000 classes at 224×224 pixels",
        ),
    ):
        found = published_figures(manifest, weights)
        assert (found.errors, found.no_errors) == (None, why)


def test_a_trained_artifact_has_its_own_figures_and_a_fine_tuned_one_none(untrained: Manifest) -> None:
    trained = replace(
        untrained,
        model=replace(untrained.model, weights="IMAGENET1K_V1"),
        published=Published(acc1=58.178, acc5=80.624, gflops=0.349, dataset="ImageNet-1K"),
    )
    assert published_figures(trained, "DEFAULT").errors.top1 == pytest.approx(41.822)
    tuned = replace(trained, published=None, model=replace(untrained.model, checkpoint="mine.pth", weights="mine.pth"))
    assert published_figures(tuned, "DEFAULT").errors is None
    assert "measure them on labelled images" in published_figures(tuned, "DEFAULT").no_errors


def test_a_model_that_is_not_torchvisions(untrained: Manifest) -> None:
    found = published_figures(
        replace(untrained, model=ModelInfo(name="resnet50", source="builder", weights="mine")), "DEFAULT"
    )
    assert (found.errors, found.gflops) == (None, None)
