"""What verbs share: the options that open a model, and JSON."""

import inspect
import json
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from torchless.cli.bench import bench
from torchless.cli.doctor import doctor
from torchless.cli.evaluate import evaluate_command
from torchless.cli.infer import infer
from torchless.cli.options import Decode, ModelFlags, print_json
from torchless.cli.serve import serve
from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.image.options import ImageOptions
from torchless.model.artifact import FileDescription, read_artifact
from torchless.model.preprocessing import Resize
from torchless.serve.settings import Settings

SERVE_ALONE = {"max_gpu_mb"}  # others work for a while, and give the GPU back


@pytest.mark.parametrize("verb", [infer, evaluate_command, bench, serve])
def test_every_way_to_open_a_model_is_open_to_every_verb(verb: Callable[..., None]) -> None:
    needed = {field.name for field in fields(ModelFlags)} - (SERVE_ALONE if verb is not serve else set())
    assert needed <= set(inspect.signature(verb).parameters)


def test_doctor_opens_a_model_on_the_cpu_and_reads_no_image() -> None:
    left_out = SERVE_ALONE | {
        "device",
        "threads",
        "exif",
        "decode",
        "max_megapixels",
        "threshold",
        "truncated",
        "value_range",
        "background",
    }
    assert {field.name for field in fields(ModelFlags)} - left_out <= set(inspect.signature(doctor).parameters)


@pytest.mark.parametrize(
    ("verb", "opening"),
    [(infer, ModelOptions()), (evaluate_command, ModelOptions()), (bench, ModelOptions()), (serve, Settings.opening)],
)
def test_what_is_not_given_is_as_the_library_has_it(verb: Callable[..., None], opening: ModelOptions) -> None:
    said = {name: parameter.default for name, parameter in inspect.signature(verb).parameters.items()}
    names = {field.name for field in fields(ModelFlags)} & said.keys()
    assert ModelFlags(**{name: said[name] for name in names}).parse() == opening


def test_every_option_says_how_a_model_is_opened(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("a\nb\n")
    (tmp_path / "manifest.json").write_text(read_artifact(tiny).manifest.to_json())
    flags = ModelFlags(
        device="cpu", threads=1, labels=tmp_path / "labels.txt", exif=False, decode=Decode.FAST, max_megapixels=2,
        manifest=tmp_path / "manifest.json", resize="40x50", crop="32", mean="1,2,3", std="4 5 6",
        interpolation="bicubic", truncated=True, value_range="-1:1", background="white",
    )  # fmt: skip
    assert flags.parse() == ModelOptions(
        device="cpu",
        threads=1,
        labels=("a", "b"),
        manifest=read_artifact(tiny).manifest,
        description=FileDescription(
            resize=Resize(mode="exact", size=(40, 50)),
            crop=(32, 32),
            mean=(1, 2, 3),
            std=(4, 5, 6),
            interpolation="bicubic",
        ),
        image_options=ImageOptions(
            apply_exif=False,
            max_pixels=2_000_000,
            decode="fast",
            truncated=True,
            value_range=(-1, 1),
            background="white",
        ),
    )
    assert flags.words() == [
        "--device", "cpu", "--threads", "1", "--labels", f"{tmp_path}/labels.txt", "--no-exif", "--decode", "fast",
        "--max-megapixels", "2", "--truncated",
        "--value-range", "-1:1", "--background", "white",
        "--manifest", f"{tmp_path}/manifest.json", "--resize", "40x50", "--crop", "32",
        "--mean", "1,2,3", "--std", "4 5 6", "--interpolation", "bicubic",
    ]  # fmt: skip
    assert ModelFlags().words() == []


def test_the_key_is_read_at_once_and_is_one(tmp_path: Path) -> None:
    from torchless.model.signing import make_key

    make_key(tmp_path / "key")
    content = (tmp_path / "key.pub").read_bytes()
    assert ModelFlags(require_signature=tmp_path / "key.pub").parse().require_signature == content
    with pytest.raises(UsageError, match="is a private key; give the public one"):
        ModelFlags(require_signature=tmp_path / "key").parse()


def test_json_holds_no_infinity(capsys: pytest.CaptureFixture) -> None:
    print_json({"a": [float("inf"), 1.5], "ä": float("nan")})
    printed = capsys.readouterr().out
    assert json.loads(printed) == {"a": [None, 1.5], "ä": None}
    assert "ä" in printed


@pytest.mark.parametrize("text", ["0", "224x", "1x2x3", "-1", str(2**31), "9" * 5000], ids=lambda text: text[:12])
@pytest.mark.parametrize("flag", ["resize", "crop"])
def test_sizes_that_are_none(flag: str, text: str) -> None:
    with pytest.raises(UsageError, match=rf"^`{flag}` takes .*; got '{text}'$"):
        ModelFlags(**{flag: text}).parse()
