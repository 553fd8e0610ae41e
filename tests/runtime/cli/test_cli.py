"""The command line, in-process; tests/install runs the installed programs."""

import inspect
import io
import json
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest
from PIL import Image
from tests import onnx_model
from tests.data import LABELS

from torchless import bench
from torchless.batch.options import InferOptions
from torchless.cli.infer import infer
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import read_onnx


@pytest.fixture
def run(command_line: Callable[..., tuple[int, str, str]]) -> Callable[..., tuple[int, str, str]]:
    return command_line


def test_infer_prints_a_table_and_the_device(run, tiny: Path, photos: Path) -> None:
    code, out, err = run("infer", tiny, photos / "coffee.png", "--device", "auto")
    assert code == 0
    assert out.splitlines()[0] == str(photos / "coffee.png")
    assert out.splitlines()[1].endswith("three")
    assert len(out.splitlines()) == 6
    assert err.startswith("device: cpu, ")
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("image", ["coffee.png", "missing.png"])
def test_without_options_infer_needs_no_parser_and_does_the_same(run, tiny: Path, photos: Path, image: str) -> None:
    plain, parsed = run("infer", tiny, photos / image), run("infer", tiny, photos / image, "--top-k", 5)
    assert plain == parsed
    assert plain[0] == (image == "missing.png")


def test_every_field_of_what_infer_does_is_an_option() -> None:
    names = {item.name.removesuffix("_s") for item in fields(InferOptions)}  # --timeout, in seconds
    assert names - {"opening"} <= set(inspect.signature(infer).parameters)


def test_torchless_infer_is_the_same_command(run, tiny: Path, photos: Path) -> None:
    rows = [
        run(*program, tiny, photos / "coffee.png", "-f", "jsonl", "-k", 2, "-d", "cpu")
        for program in (["infer"], ["torchless", "infer"])
    ]
    assert rows[0] == rows[1]
    code, out, err = rows[0]
    assert (code, err) == (0, "")
    assert len(json.loads(out)["predictions"]) == 2


def test_folders_stdin_and_failures_in_one_go(
    run, tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "a.png").write_bytes((photos / "coffee.png").read_bytes())
    (tmp_path / "in" / "b.jpg").write_bytes(b"")
    (tmp_path / "in" / "deep" / "c.jpg").write_bytes((photos / "rocket.jpg").read_bytes())
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((photos / "chelsea.png").read_bytes())))
    code, out, _ = run("infer", tiny, tmp_path / "in", "-", "missing.jpg", "-r", "-f", "json", "-b", 2)
    rows = json.loads(out)
    assert code == 1
    assert [Path(row["image"]).name for row in rows] == ["a.png", "b.jpg", "c.jpg", "-", "missing.jpg"]
    assert [row["error"] for row in rows] == [
        None,
        "the file is empty",
        None,
        None,
        "cannot read missing.jpg: No such file or directory",
    ]


def test_output_file_and_its_format(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    code, out, _ = run("infer", tiny, photos / "coffee.png", "-o", tmp_path / "rows.csv")
    assert (code, out) == (0, "")
    assert (tmp_path / "rows.csv").read_text().startswith("image,rank,index,label,probability,error,warning\n")


def test_labels(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("\n".join("abcde"))
    _, out, _ = run("infer", tiny, photos / "coffee.png", "--labels", tmp_path / "labels.txt", "-f", "jsonl")
    assert {prediction["label"] for prediction in json.loads(out)["predictions"]} == set("abcde")


def test_too_few_labels_are_told_with_their_file(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "few.txt").write_text("a\nb\n")
    code, _, err = run("infer", tiny, photos / "coffee.png", "--labels", tmp_path / "few.txt")
    assert code == 2
    assert err.startswith(f"error: labels file {tmp_path}/few.txt holds 2 labels, the model has 5 classes; they must")


def test_exif_flag(run, tiny: Path, photos: Path, tmp_path: Path) -> None:
    from PIL import Image

    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(photos / "rocket.jpg") as image:
        image.save(tmp_path / "turned.jpg", exif=exif)
    outs = [run("infer", tiny, tmp_path / "turned.jpg", "-f", "jsonl", *flag)[1] for flag in ([], ["--no-exif"])]
    assert outs[0] != outs[1]


def test_max_megapixels(run, tiny: Path, photos: Path) -> None:
    code, out, _ = run("infer", tiny, photos / "coffee.png", "--max-megapixels", 0.1)
    assert code == 1
    assert "error: the image has 600×400" in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nowhere.onnx", "x.jpg"], 3, "error: there is no file nowhere.onnx"),
        (["MODEL", "x.jpg", "--device", "tpu"], 2, "error: unknown device 'tpu'"),
        (["MODEL", "x.jpg", "--device", "cuda"], 4, "error: cannot use cuda: "),
        (["MODEL", "x.jpg", "--labels", "nowhere.txt"], 2, "error: labels file nowhere.txt: No such file"),
        (["MODEL", "x.jpg", "--mean", "1,2"], 2, "error: --mean takes one number per channel"),
        (["MODEL", "x.jpg", "--interpolation", "cubic"], 2, "error: unknown interpolation 'cubic'"),
        (
            ["MODEL", "x.jpg", "--manifest", "nowhere.json"],
            2,
            "error: cannot read the manifest nowhere.json: No such file",
        ),
        (["MODEL", "x.jpg", "--resize", "7"], 2, "has its own manifest, which --resize would contradict"),
        (["MODEL", "x.jpg", "--output", "none/x.csv"], 2, "error: cannot write none/x.csv"),
        (["MODEL", "x.jpg", "--output", "."], 2, "error: cannot write .: it is a folder"),
        (["MODEL", "x.jpg", "y.jpg", "--output", "none/x.csv"], 2, "error: cannot write none/x.csv"),
        (["MODEL", "x.jpg", "y.jpg", "--output", "."], 2, "error: cannot write .: it is a folder"),
        (["MODEL", "x.jpg", "--resume"], 2, "--resume needs --output"),
        (["MODEL", "-", "--resume", "--output", "x.csv"], 2, "and no image from standard input"),
        (["MODEL", "x.jpg", "--format", "parquet"], 2, "error: Parquet needs a file"),
        (["MODEL", "x.jpg", "--workers", "0"], 2, "--workers"),
        (["MODEL", "x.jpg", "--top-k", "0"], 2, "--top-k"),
        (["MODEL", "x.jpg", "--max-megapixels", "inf"], 2, "--max-megapixels"),
    ],
)
def test_errors_end_with_their_exit_code(run, tiny: Path, arguments: list[str], code: int, message: str) -> None:
    got, out, err = run("infer", *[str(tiny) if argument == "MODEL" else argument for argument in arguments])
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("given", "right"),
    [
        (["infer", "a b.jpg", "m.onnx"], "infer m.onnx 'a b.jpg'"),
        (["infer", "a.jpg", "m.onnx", "-k", "1"], "infer m.onnx a.jpg"),
        (["torchless", "evaluate", "val", "m.onnx"], "torchless evaluate m.onnx val"),
        (["torchless", "repository", "models", "m.onnx"], "torchless repository m.onnx models"),
    ],
)
def test_swapped_arguments_are_told(run, given: list[str], right: str) -> None:
    code, out, err = run(*given)
    assert (code, out) == (2, "")
    assert err.startswith(("error: the model comes first: ", "error: the folder comes last: "))
    assert err.endswith(f" {right}\n")


def test_a_foreign_file_is_described_by_flags(
    run, changed: Callable[..., Path], tiny: Path, photos: Path, tmp_path: Path
) -> None:
    foreign = changed(manifest="")
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    (tmp_path / "manifest.json").write_text(read_onnx(tiny).metadata[Manifest.KEY])
    code, _, err = run("infer", foreign, photos / "coffee.png")
    assert code == 3
    assert "missing --resize, --mean, --std, --labels" in err
    flags = [
        "--resize",
        37,
        "--mean",
        ".4,.5,.6",
        "--std",
        ".2 .25 .3",
        "--interpolation",
        "bicubic",
        "--labels",
        tmp_path / "labels.txt",
    ]
    rows = [
        run("infer", *arguments, photos / "coffee.png", "-f", "jsonl")[:2]
        for arguments in ([tiny], [foreign, *flags], [foreign, "--manifest", tmp_path / "manifest.json"])
    ]
    assert rows[0] == rows[1] == rows[2]


def test_an_untrained_model_says_so(run, changed: Callable[..., Path], tiny: Path, photos: Path) -> None:
    manifest = Manifest.from_json(read_onnx(tiny).metadata[Manifest.KEY])
    path = changed(manifest=replace(manifest, model=replace(manifest.model, weights=None)).to_json())
    _, _, err = run("infer", path, photos / "coffee.png", "-d", "cpu")
    assert err.startswith("warning: tiny is untrained")
    assert "untrained" in run("torchless", "inspect", path)[1]


def test_explain_says_what_the_model_is_and_what_is_done_to_each_image(run, tiny: Path, tmp_path: Path) -> None:
    turned, exif = tmp_path / "turned.jpg", Image.Exif()
    exif[0x0112] = 6  # Exif's orientation: stored lying, to be shown upright
    Image.new("RGB", (80, 40), "red").save(turned, exif=exif)
    code, out, err = run("infer", tiny, turned, tmp_path / "none.png", "--explain", "--format", "json", "-d", "cpu")
    plain = run("infer", tiny, turned, tmp_path / "none.png", "--format", "json", "-d", "cpu")
    assert (code, out) == (1, plain[1])
    lines = err.splitlines()
    assert lines[0] == "architecture as tests.models:tiny builds it"
    assert lines[1].startswith("transform    resize short side to 37, bicubic, centre crop 32×32, mean ")
    assert any("ends otherwise, give --activation: softmax, sigmoid or none" in line for line in lines)
    assert f"{turned}: decoded 40×80, resized to 37×74, cropped to 32×32" in lines


def test_explain_is_for_this_process(run, tiny: Path) -> None:
    assert run("infer", tiny, "a.jpg", "--explain", "--engine", "ray")[0] == 2


def test_inspect_ends_with_the_summary(run, tiny: Path) -> None:
    lines = run("torchless", "inspect", tiny)[1].splitlines()
    assert lines[-1] == "layers       10: --layers lists them"
    everything = run("torchless", "inspect", tiny, "--layers")[1].splitlines()
    assert everything[: len(lines)] == [*lines[:-1], "layers       10"]


def test_inspect_shows_manifest_operators_and_layers(run, tiny: Path) -> None:
    code, out, _ = run("torchless", "inspect", tiny, "--layers")
    assert code == 0
    for expected in (
        "input        input  batch×3×32×32",
        "output       logits  batch×5",
        "model        tiny",
        "architecture as tests.models:tiny builds it",
        "transform    resize short side to 37, bicubic, centre crop 32×32, mean 0.4,0.5,0.6, std 0.2,0.25,0.3",
        "activation   softmax: an image has one class [assumed]",
        "             assumed: if your network ends otherwise, give --activation",
        "labels       5: 'zero' … 'four', from tests.models:tiny",
        " checks on 16 images, largest logit error ",
        " times PyTorch's own)",
        "seal         intact: this file is unchanged since it was exported",
        "operators    Conv 2, Clip 1, ",
        "parameters   1,721 in the graph, 1,733 in PyTorch",
        "Sequential()",
        "  0: Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1))",
    ):
        assert expected in out
    last = next(line for line in out.splitlines() if "  8: Linear(in_features=64" in line)
    assert last.split()[-2:] == ["1×5", "325"]


def test_inspect_json(run, tiny: Path) -> None:
    document = json.loads(run("torchless", "inspect", tiny, "--json")[1])
    assert document["manifest"]["model"]["name"] == "tiny"
    assert document["operators"]["Conv"] == 2
    assert (document["seal"], document["doubts"]) == ("intact", [])
    assert document["inputs"] == [{"name": "input", "shape": ["batch", 3, 32, 32]}]
    assert (
        sum(layer["parameters"] for layer in document["layers"]) == document["manifest"]["model"]["num_params"] == 1733
    )
    assert document["layers"][1] == {
        "path": "0",
        "type": "Conv2d",
        "arguments": "3, 8, kernel_size=(3, 3), stride=(2, 2), padding=(1, 1)",
        "output_shape": [1, 8, 16, 16],
        "parameters": 224,
    }


def remove_layers(model: onnx_model.ModelProto) -> None:
    del model.metadata_props[:]


def test_inspect_a_foreign_file(run, changed: Callable[..., Path]) -> None:
    code, out, _ = run("torchless", "inspect", changed(remove_layers))
    assert code == 0
    assert "manifest     none" in out
    assert "layers       not listed" in out


def test_a_changed_file_is_pointed_out(run, changed: Callable[..., Path], photos: Path) -> None:
    def change(model: onnx_model.ModelProto) -> None:
        model.graph.name = "another"

    path = changed(change)
    assert "seal         BROKEN: the file was changed" in run("torchless", "inspect", path)[1]
    code, _, err = run("infer", path, photos / "coffee.png")
    assert code == 0
    assert f"warning: {path} was changed after it was sealed" in err


def test_a_proved_file_is_not(run, tiny: Path, photos: Path) -> None:
    assert "warning" not in run("infer", tiny, photos / "coffee.png")[2]


def test_inspect_a_damaged_list_of_layers(run, changed: Callable[..., Path]) -> None:
    def spoil(model: onnx_model.ModelProto) -> None:
        next(entry for entry in model.metadata_props if entry.key == "torchless.layers").value = "[{"

    code, _, err = run("torchless", "inspect", changed(spoil))
    assert code == 3
    assert "the list of layers is not valid JSON" in err


def test_a_manifest_file_that_is_wrong_is_named(run, changed: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "bad.json").write_text("{")
    code, _, err = run("infer", changed(manifest=""), "x.jpg", "--manifest", tmp_path / "bad.json")
    assert code == 2
    assert "bad.json: the manifest is not valid JSON" in err


def test_help_version_and_bare_calls(run) -> None:
    code, out, _ = run("torchless", "--version")
    assert (code, out.split()[0]) == (0, "torchless")
    code, out, _ = run("torchless", "--help")
    assert all(verb in out for verb in ("infer", "inspect", "export"))
    assert run("torchless")[0] == 2
    assert run("infer")[0] == 2
    assert "photos/" in run("infer", "--help")[1]


def test_bench(run, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        bench, "_rate", lambda classifier, data, batch_size, workers, seconds: {1: 10.0, 2: 30.0, 3: 20.0}[workers]
    )
    workers = [argument for count in (1, 2, 3) for argument in ("--workers", count)]
    arguments = [tiny, "-b", 1, "--threads", 1, *workers, "--seconds", 0.01, "-d", "cpu"]
    code, out, err = run("torchless", "bench", *arguments, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out)["best"] == {"workers": 2, "threads": 1, "batch_size": 1, "images_per_second": 30.0}
    last = run("torchless", "bench", *arguments)[1].splitlines()[-1]
    assert last == "most images:        --workers 2 --threads 1 --batch-size 1  (30.0 images/s)"
    assert run("torchless", "bench", tiny, "--seconds", "nan")[0] == 2


def test_bench_opens_a_model_as_infer_does_also_where_it_starts_that(
    run, changed: Callable[..., Path], tiny: Path, tmp_path: Path
) -> None:
    manifest = read_onnx(tiny).metadata[Manifest.KEY]
    (tmp_path / "manifest.json").write_text(manifest)
    arguments = [
        "--manifest",
        tmp_path / "manifest.json",
        "-b",
        1,
        "--threads",
        1,
        "--workers",
        1,
        "--seconds",
        0.01,
        "-d",
        "cpu",
    ]
    assert run("torchless", "bench", changed(manifest=""), *arguments)[0] == 0
    code, out, err = run("torchless", "bench", changed(manifest=manifest), *arguments[2:], "--json")
    assert (code, err.startswith("warning: "), "has no seal" in json.loads(out)["warnings"][0]) == (0, True, True)


def test_workers_and_fast_decoding(run, tiny: Path, photos: Path) -> None:
    images = [photos / "coffee.png", photos / "rocket.jpg", photos / "chelsea.png"]
    outs = {run("infer", tiny, *images, "-f", "jsonl", "--workers", workers, "-b", 2)[1] for workers in (1, 2, 3)}
    assert len(outs) == 1
    device, end = run("infer", tiny, *images, "--workers", 2, "--threads", 1)[2].splitlines()
    assert (device, end.partition(",")[0]) == ("device: cpu, 2 workers, 1 thread", "3 done")
    assert run("infer", tiny, *images, "-f", "jsonl", "--decode", "fast")[1] not in outs
