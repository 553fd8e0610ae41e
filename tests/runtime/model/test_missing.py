"""What is said of a model file that is not there: every hint leads to the file."""

import shutil
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from torchless.errors import ArtifactDamagedError, ArtifactNotFoundError
from torchless.model.missing import command_for, missing_model
from torchless.model.onnxfile import read_onnx


@pytest.fixture
def folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with artifacts/resnet50.onnx and mine.onnx."""
    monkeypatch.chdir(tmp_path)
    Path("artifacts").mkdir()
    shutil.copy(tiny, "artifacts/resnet50.onnx")
    shutil.copy(tiny, "mine.onnx")
    return tmp_path


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("resnet50.onnx", "did you mean artifacts/resnet50.onnx?"),
        ("resnet50", "did you mean artifacts/resnet50.onnx?"),
        ("elsewhere/mine.onnx", "make it with: torchless export MODEL --output elsewhere/mine.onnx"),
        ("artifacts/resnt50.onnx", "did you mean artifacts/resnet50.onnx?"),
        ("min.onnx", "did you mean mine.onnx?"),
        ("resnet5O", "did you mean artifacts/resnet50.onnx?"),
        ("resnet18", "make it with: torchless export resnet18 --output resnet18.onnx"),
        ("resnet51", "make it with: torchless export MODEL --output resnet51.onnx"),
        ("swin_t.onnx", "make it with: torchless export swin_t --output swin_t.onnx"),
        ("artifacts/vgg11", "make it with: torchless export vgg11 --output artifacts/vgg11.onnx"),
        ("a b.onnx", "make it with: torchless export MODEL --output 'a b.onnx'"),
        ("digits.int8.onnx", "torchless quantize digits.onnx --calibration IMAGES --output digits.int8.onnx"),
        ("resnet50.fp16.onnx", "quantize artifacts/resnet50.onnx --precision fp16 --output resnet50.fp16.onnx"),
        ("mine.tuned.onnx", "torchless tune mine.onnx --images IMAGES --output mine.tuned.onnx"),
        ("vit_b_16-in-graph.onnx", "export vit_b_16 --preprocess-in-graph --output vit_b_16-in-graph.onnx"),
    ],
)
def test_a_missing_file_has_a_name_like_it_or_a_command_that_makes_it(folder: Path, given: str, hint: str) -> None:
    with pytest.raises(ArtifactNotFoundError) as raised:
        read_onnx(given)
    assert str(raised.value).startswith(f"there is no file {given}; ")
    assert str(raised.value).endswith(hint)


@pytest.mark.parametrize("name", ["http://127.0.0.1/a/mine.onnx", "s3://bucket/mine.onnx", "hf:me/mine"])
def test_a_name_where_a_file_is_wanted(name: str) -> None:
    assert missing_model(Path(name)) == (
        f"here the model must be a file, not {name}; this fetches it and says where the file is: "
        f"torchless inspect {name}"
    )


def test_a_folder_names_the_models_in_it(folder: Path) -> None:
    with pytest.raises(ArtifactNotFoundError, match=r"artifacts is a folder, .*; name a file in it: artifacts/resnet"):
        read_onnx("artifacts")
    Path("empty").mkdir()
    with pytest.raises(ArtifactNotFoundError, match="empty is a folder, not an ONNX file$"):
        read_onnx("empty")


def test_a_checkpoint_is_to_be_exported(folder: Path) -> None:
    Path("mine.pth").write_bytes(b"PK\x03\x04")
    with pytest.raises(ArtifactDamagedError, match=r"; export it: torchless export MODEL --checkpoint mine.pth$"):
        read_onnx("mine.pth")


def test_an_image_in_place_of_a_model_is_told_so(folder: Path) -> None:
    Path("coffee.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
    with pytest.raises(
        ArtifactDamagedError, match=r"^coffee.png is not an ONNX model; name the .onnx file that export wrote$"
    ):
        read_onnx("coffee.png")


@example("é" * 126)  # fits into a file's name, but not with .onnx behind it
@given(st.text(min_size=1).filter(lambda name: not {"/", "\0"} & set(name) and name not in {".", ".."}))
def test_any_name_has_a_hint(name: str) -> None:
    file = Path("/nowhere", name)
    assert missing_model(file) == f"there is no file {file}; make it with: {command_for(file)}"
