"""`torchless verify --rebuild`: the whole gate once more, on an artifact that exists, with PyTorch's side built again
from its manifest.
"""

import json
import re
import zipfile
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import onnx
import pytest
from PIL import Image
from tests.conftest import REPO

from torchless.errors import ManifestMissingError
from torchless.model.artifact import manifest_of
from torchless.model.onnxfile import read_onnx
from torchless_export.convert.write import write_sealed
from torchless_export.verification import verify


@pytest.fixture
def run(
    command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(REPO)
    return partial(command_line, "torchless", "verify")


def test_an_artifact_with_the_users_images(run, lite0: Path, photos: Path) -> None:
    code, out, err = run(lite0, "--images", photos / "coffee.png", "--images", photos / "c*.png")
    assert code == 0
    assert [line.partition("s] ")[2] for line in err.splitlines()] == [
        "starting PyTorch",
        "building efficientnet_lite0 again with PyTorch",
        f"proving that {lite0.name} gives PyTorch's answers",
    ]
    lines = out.splitlines()
    assert lines[0].startswith(f"{lite0}: parity passed on ")
    assert [line.split()[0] for line in lines[2:14]] == [
        "seal", "reference", "structure", "labels", "preprocessing", "logits_random", "logits_photos", "logits_yours",
        "batching", "decision", "not_vacuous", "activation",
    ]  # fmt: skip
    assert {line.split()[1] for line in lines[2:14]} == {"ok"}
    cells = [re.split(r"\s{2,}", line.strip())[:2] for line in lines[15:]]
    for name in ("random", "photos", "yours"):  # each batch size once, those with equal figures in one line
        assert sorted(size for found, sizes in cells if found == name for size in sizes.split(", ")) == list("1238")


def test_json(run, tiny: Path) -> None:
    code, out, _ = run(tiny, "--rebuild", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["parity"]["passed"] is True
    assert found["parity"]["rule"] == "float64"
    assert (found["departure"], found["tf32_metrics"], found["unreadable"]) == (None, [], [])


def test_json_of_a_file_that_cannot_be_run(run, changed: Callable[..., Path]) -> None:
    code, out, _ = run(changed(lambda model: setattr(model, "ir_version", 11)), "--rebuild", "--json")
    assert code == 5
    assert json.loads(out)["parity"]["max_abs_error"] is None  # JSON has no infinity


def test_an_image_that_cannot_be_read_is_named_and_the_exit_code_is_1(
    run, tiny: Path, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    code, out, err = run(tiny, "--images", photos / "coffee.png", "--images", tmp_path / "bad.jpg")
    assert code == 1
    assert "parity passed on 17 images" in out
    assert f"\nnot read: {tmp_path / 'bad.jpg'}: it is text, not an image" in err
    (tmp_path / "notes.txt").touch()
    assert "1 file is no image: .txt 1" in run(tiny, "--images", photos / "coffee.png", "--images", tmp_path)[2]


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


def test_a_report_takes_the_place_of_no_folder(run, tiny: Path, tmp_path: Path) -> None:
    code, _, err = run(tiny, "--report", tmp_path)
    assert code == 2
    assert err.startswith(f"error: cannot write {tmp_path}: it is a folder")


def test_a_report_names_an_image_whose_name_is_not_utf8(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    assert (
        run(
            tiny,
            "--images",
            tmp_path / "\udcff.jpg",
            "--images",
            photos / "coffee.png",
            "--report",
            tmp_path / "report.html",
        )[0]
        == 1
    )
    assert "\\udcff.jpg" in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_a_changed_file_fails_with_exit_code_5_and_the_place(run, changed: Callable[..., Path]) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 1.01, weight.name))

    path = changed(change)
    code, out, _ = run(path, "--rebuild")
    assert code == 5
    assert f"{path}: parity FAILED" in out
    assert {"seal", "logits_random", "logits_photos"} <= {
        line.split()[0] for line in out.splitlines() if "FAILED" in line.split()
    }
    assert "where it broke: node node_Conv" in out
    code, out, _ = run(path, "--rebuild", "--json")
    found = json.loads(out)
    assert code == 5
    assert found["departure"]["operator"] == "Conv"
    assert found["departure"]["units"] > 100


def test_a_manifest_that_lies_about_preprocessing_is_caught_though_the_seal_fits(
    run, lite0: Path, tmp_path: Path
) -> None:
    path, manifest = tmp_path / "lie.onnx", manifest_of(read_onnx(lite0))
    lie = replace(manifest, preprocess=replace(manifest.preprocess, interpolation="bilinear"))
    write_sealed(onnx.load(lite0), lie, (), path)
    code, out, _ = run(path, "--rebuild")
    assert code == 5
    assert [line.split()[0] for line in out.splitlines() if "FAILED" in line.split()][:2] == [
        f"{path}:",
        "preprocessing",
    ]
    assert "where it broke" not in out  # the network is right


def test_cuda_without_a_gpu_is_exit_code_4_at_once(run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless.engine.cuda.driver_problem", lambda index: "no NVIDIA driver is installed")
    code, out, err = run(tiny, "--rebuild", "--device", "cuda")
    assert (code, out) == (4, "")
    assert err.splitlines()[-1].startswith("error: cannot use cuda: ")


def test_a_missing_file_and_one_without_a_manifest(run, tmp_path: Path, changed: Callable[..., Path]) -> None:
    assert run(tmp_path / "none.onnx", "--rebuild")[0] == 3
    assert run(changed(manifest=""), "--rebuild")[0] == 3
    with pytest.raises(ManifestMissingError, match="nothing says which PyTorch model it must equal"):
        verify(changed(manifest=""))
