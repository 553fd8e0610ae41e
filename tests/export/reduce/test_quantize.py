"""`torchless quantize`: the file that appears, the file that does not, and what is said."""

import hashlib
import json
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from tests.conftest import REPO

from torchless.engine.classifier import Classifier
from torchless.engine.head import make_head
from torchless.engine.session import open_session
from torchless.errors import UsageError
from torchless.model.artifact import manifest_of, read_artifact, sha256_of
from torchless.model.manifest import Manifest, OutputInfo
from torchless.model.onnxfile import read_onnx
from torchless.model.seal import Seal
from torchless_export.errors import ParityError
from torchless_export.reduce import quantize, tune
from torchless_export.reduce.bias import bias_errors
from torchless_export.reduce.float16 import to_float16
from torchless_export.reduce.images import ImageSplit, image_set, prepared
from torchless_export.reduce.int8 import best_weight_bits, layers_in, measure, to_int8
from torchless_export.reduce.ranges import best_range
from torchless_export.reduce.request import Bounds, QuantizeRequest, TuneRequest
from torchless_export.reduce.search import Search, foreseen

PHOTO = Image.fromarray(np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> Path:
    """140 parts of real photos."""
    folder = tmp_path_factory.mktemp("images")
    sources = [
        Image.open(photos / name).convert("RGB")
        for name in ("astronaut.png", "coffee.png", "chelsea.png", "rocket.jpg", "camera.png")
    ]
    chance = np.random.default_rng(0)
    for number in range(140):
        source = sources[number % len(sources)]
        side = int(chance.integers(60, 250))
        left, top = (int(chance.integers(0, size - side)) for size in source.size)
        source.crop((left, top, left + side, top + side)).resize((64, 64)).save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def quick_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of other things than the measurement, which takes seconds."""
    monkeypatch.setattr(
        quantize,
        "measure_pace",
        lambda *_: quantize.Pace(float_ms=2, ms=1, float_bytes=2, bytes=1, threads=2, processor="Test"),
    )


@pytest.fixture
def run(
    command_line: Callable[..., tuple[int, str, str]], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.chdir(REPO)
    return partial(command_line, "torchless", "quantize")


@pytest.fixture(scope="module")
def small(tiny: Path, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network in int8. It is too small to gain by that, hence the force."""
    path = tmp_path_factory.mktemp("small") / "tiny.int8.onnx"
    return quantize.quantize(request(tiny, folder, force=True), path).path


def request(source: Path, folder: Path, **changes: object) -> QuantizeRequest:
    return replace(QuantizeRequest(source=source, precision="int8", images=ImageSplit([str(folder)])), **changes)


def manifest(path: Path) -> Manifest:
    return manifest_of(read_onnx(path))


def test_the_file_is_an_artifact_that_says_what_it_is(small: Path, tiny: Path) -> None:
    made, of = manifest(small), manifest(tiny)
    assert read_artifact(small).seal == Seal.INTACT
    assert (made.precision, made.labels, made.preprocess, made.model) == ("int8", of.labels, of.preprocess, of.model)
    assert (made.reduction.float_file, made.reduction.float_sha256) == ("tiny.onnx", sha256_of(tiny))
    assert made.reduction.calibration.images == made.reduction.judged.images == 70
    assert made.reduction.calibration.sha256 != made.reduction.judged.sha256
    assert (made.parity.passed, made.parity.rule) == (True, "decisions")
    assert [check.name for check in made.parity.checks] == [
        "structure",
        "finite",
        "images",
        "answers",
        "decision",
        "batching",
    ]
    operators = {node.op_type for node in onnx.load(small).graph.node}
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators


def test_other_commands_take_it(
    command_line, small: Path, tiny: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    code, out, _ = command_line("infer", small, folder / "000.png", "--format", "jsonl")
    assert (code, len(json.loads(out)["predictions"])) == (0, 5)
    code, out, _ = command_line("torchless", "inspect", small)
    assert code == 0
    assert "parity       passed on decisions: same top-1 on " in out
    assert f"precision    int8, made from tiny.onnx (SHA-256 {sha256_of(tiny)[:16]}…)" in out
    code, out, _ = command_line("torchless", "verify", small, "--images", folder)
    assert code == 0
    assert [line.split()[:2] for line in out.splitlines() if line.split()[0] in ("seal", "preprocessing", "decision",
    "batching")] == [
        ["seal", "ok"], ["preprocessing", "ok"], ["decision", "ok"], ["batching", "ok"],
    ]  # fmt: skip


def test_verify_finds_a_spoiled_layer(
    command_line, small: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a processor does whose sums overflow."""
    monkeypatch.chdir(REPO)
    model = onnx.load(small)
    scale = next(
        weight for weight in model.graph.initializer if weight.name.endswith("_scale") and len(weight.dims) == 1
    )
    values = onnx.numpy_helper.to_array(scale) * np.linspace(-3, 3, *scale.dims, dtype=np.float32)
    scale.CopyFrom(onnx.numpy_helper.from_array(values, scale.name))
    (tmp_path / "spoiled.onnx").write_bytes(model.SerializeToString())
    code, out, _ = command_line("torchless", "verify", tmp_path / "spoiled.onnx", "--images", folder)
    assert code == 5
    assert {line.split()[0] for line in out.splitlines() if "FAILED" in line.split()} >= {"seal", "decision"}


def test_too_many_other_answers_are_exit_code_5_and_no_file(
    run, tiny: Path, folder: Path, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(
        quantize.decisions,
        "decide",
        lambda wanted, got, head, decide=quantize.decisions.decide: decide(wanted, -got, head),
    )
    code, out, err = run(tiny, "--calibration", folder, "-o", tmp_path / "x.onnx")
    assert (code, out) == (5, "")
    assert "x.onnx was not written: it does not decide as" in err
    assert any(line.split()[:2] == ["decision", "FAILED"] for line in err.splitlines())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("ms", "size", "code"), [(2.0, 900, 7), (0.5, 1100, 7), (0.5, 900, 0)])
def test_a_file_that_does_not_pay_is_not_written(
    run, tiny: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ms: float, size: int, code: int
) -> None:
    pace = quantize.Pace(float_ms=1.0, ms=ms, float_bytes=1000, bytes=size, threads=2, processor="Test")
    monkeypatch.setattr(quantize, "measure_pace", lambda *_: pace)
    got, _, err = run(tiny, "--calibration", folder, "-o", tmp_path / "x.onnx")
    assert got == code
    assert (tmp_path / "x.onnx").exists() == (code == 0)
    if code:
        assert (
            f"0.0 MB for 0.0 MB ({size / 1000:.2f} ×), {ms:.2f} ms per image for 1.00 ms ({1 / ms:.2f} × as fast)"
            in err
        )
        assert "--force writes it anyway" in err


def test_labelled_data_count_too(tiny: Path, folder: Path, tmp_path: Path, quick_pace: None) -> None:
    classifier = Classifier(tiny)
    images = sorted(folder.glob("*.png"))
    truth = classifier.logits(images).argmax(axis=1)
    rows = [{"image": str(path), "index": int(index)} for path, index in zip(images, truth, strict=True)]
    (tmp_path / "data.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    made = quantize.quantize(
        request(tiny, folder, force=True, data=tmp_path / "data.jsonl", max_error_rise=0.05), tmp_path / "a.onnx"
    )
    check = next(check for check in made.verdict.checks if check.name == "error_rise")
    assert "on 70 images" in check.detail  # those that it was calibrated on are left out
    assert (check.limit, check.figure < 0.05) == (0.05, True)
    with pytest.raises(ParityError) as failed:
        quantize.quantize(
            request(tiny, folder, force=True, data=tmp_path / "data.jsonl", max_error_rise=-1.0), tmp_path / "b.onnx"
        )
    assert failed.value.failed == ["error_rise"]


def test_the_search_keeps_the_layer_that_harms(tiny: Path, folder: Path, tmp_path: Path) -> None:
    """The same network, one channel made smaller before the second convolution and larger in it: one scale cannot fit
    its weights.
    """
    model = onnx.load(tiny)
    first, second = [node for node in model.graph.node if node.op_type == "Conv"]
    weights = {weight.name: weight for weight in model.graph.initializer}
    for name, channel, factor in (
        (first.input[1], 0, 1 / 30),
        (first.input[2], 0, 1 / 30),
        (second.input[1], (slice(None), 0), 30),
    ):
        values = onnx.numpy_helper.to_array(weights[name]).copy()
        values[channel] *= factor
        weights[name].CopyFrom(onnx.numpy_helper.from_array(values, name))
    harmed = tmp_path / "harmed.onnx"
    harmed.write_bytes(model.SerializeToString())
    classifier, said = Classifier(harmed), []
    batches = list(prepared(classifier, ImageSplit([str(folder)]).to_calibrate(classifier, 64)))
    graph = measure(harmed, batches, "input", 8)
    wanted = np.concatenate([classifier.run(batch) for batch in batches])
    search = Search(
        graph, classifier.manifest, batches, wanted, min_agreement=1.0, bounds=Bounds(layers=1),
        always_kept=(), progress=said.append,
    )  # fmt: skip
    trial = search.run()
    assert [group[0] for group in trial.kept] == [second.name]
    assert [line.split(":")[0] for line in said if line.startswith("recipe")] == [
        "recipe blocks", "recipe layers", f"recipe {trial.recipe}, 1 of 3 layers in float32",
    ]  # fmt: skip
    assert re.search(rf"3 of 3 layers quantised alone; \d+% of the error comes from {second.name}, ", "\n".join(said))


def test_int8_shifts_no_channel_on_average(tiny: Path, folder: Path) -> None:
    classifier = Classifier(tiny)
    batches = list(prepared(classifier, ImageSplit([str(folder)]).to_calibrate(classifier, 16)))
    graph = measure(tiny, batches, "input", 7)
    plain, corrected = (to_int8(each, recipe="blocks") for each in (replace(graph, errors={}), graph))
    before, after = (bias_errors(graph.model, small, batches, "input") for small in (plain, corrected))
    assert before.keys() == {layer[0] for layer in graph.layers}
    for layer, errors in before.items():
        assert np.abs(after[layer]).max() < 0.02 * np.abs(errors).max()


def test_a_range_cuts_off_outliers_if_finer_steps_are_worth_more() -> None:
    counts = np.zeros(2048, np.int64)
    counts[1024:1124] = 10_000  # 0..0.1
    assert best_range(-1.0, 1.0, counts)[0] == pytest.approx(-0.2)  # nothing is there
    counts[-1] = 1
    assert 0.1 < best_range(-1.0, 1.0, counts)[1] < 1
    counts[-1] = 10_000
    assert best_range(-1.0, 1.0, counts)[1] == 1
    assert best_range(0.0, 0.0, counts) == (0, 0)


def test_ranges_of_what_is_used_twice_or_infinite(tmp_path: Path) -> None:
    """An activation cuts off a layer's output only for itself; masks of attention hold infinity."""
    graph = onnx.parser.parse_model("""
        <ir_version: 8, opset_import: ["" : 17]>
        g (float[N,1,2,2] input) => (float[N,1,2,2] out)
        <float[1,1,1,1] w = {1.0}, float[1,1,2,2] seen = {1, 0, 1, 1}>
        { c = Conv(input, w)  r = Relu(c)  s = Add(c, r)  d = Conv(s, w)  e = Relu(d)
          mask = Log(seen)  m = Add(e, mask)  out = Relu(m) }
    """)
    for node in graph.graph.node:
        node.name = f"make {node.output[0]}"
    onnx.save(graph, tmp_path / "m.onnx")
    batch = np.linspace(-1, 1, 40, dtype=np.float32).reshape(10, 1, 2, 2)
    ranges = measure(tmp_path / "m.onnx", [batch], "input", 8).ranges
    assert ranges["c"][0] < -0.9
    assert ranges["d"] == ranges["e"]
    assert ranges["d"][0] == 0
    assert np.isfinite(list(ranges.values())).all()


def test_an_image_near_the_edge_is_foreseen_to_flip() -> None:
    """Of 4 cases one flips: the second image's error on the first one."""
    head = make_head(OutputInfo(name="logits", activation="softmax"), ["a", "b"], 2)
    wanted = np.array([[1.0, 0.9], [0.0, 9.0]], np.float32)
    got = wanted + np.array([[0.0, 0.0], [0.0, 0.2]], np.float32)
    assert foreseen(wanted, got, head) == 0.75


def test_layers_in_float_keep_their_bias(tiny: Path, folder: Path) -> None:
    classifier = Classifier(tiny)
    batches = list(prepared(classifier, ImageSplit([str(folder)]).to_calibrate(classifier, 2)))
    graph = measure(tiny, batches, "input", 8)
    first, second, third = graph.layers
    others = {"kept_float": [*second, *third]}, {"only": first}
    for model in (to_int8(graph, recipe="blocks", **each) for each in others):
        biases = {node.name: node.input[2] for node in model.graph.node if node.op_type in ("Conv", "Gemm")}
        for name in (second[0], third[0]):
            assert _constant(model, biases[name]) == _constant(graph.model, biases[name])


def _constant(model: onnx.ModelProto, name: str) -> list[float]:
    found = next(weight for weight in model.graph.initializer if weight.name == name)
    return onnx.numpy_helper.to_array(found).tolist()


def test_a_layer_that_is_kept_stays_float_inside_onnxruntime_too(tiny: Path, folder: Path, tmp_path: Path) -> None:
    """ONNX Runtime would quantise its weights, with one scale, when it loads the file: see int8._shield."""
    classifier = Classifier(tiny)
    images = ImageSplit([str(folder)])
    batches = list(prepared(classifier, images.to_calibrate(classifier, 8)))
    graph = measure(tiny, batches, "input", 8)
    kept = graph.layers[1]
    path = tmp_path / "kept.onnx"
    path.write_bytes(to_int8(graph, recipe="blocks", kept_float=kept).SerializeToString())
    assert layers_in(path, kept) == kept[:1]
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    loaded = onnx.load(tmp_path / "loaded.onnx")
    weights = {weight.name: weight for weight in loaded.graph.initializer}
    floats = [node for node in loaded.graph.node if node.op_type in ("Conv", "FusedConv")]
    assert [weights[node.input[1]].data_type for node in floats] == [onnx.TensorProto.FLOAT]
    assert open_session(read_onnx(path), device="cpu").run(batches[0], "input", "logits").shape == (1, 5)


def test_images_are_split_by_their_content(tiny: Path, folder: Path, tmp_path: Path) -> None:
    classifier, images = Classifier(tiny), ImageSplit([str(folder)])
    calibrated = images.to_calibrate(classifier, 1000)
    tests = list(images.to_test(classifier, calibrated, 1000))
    ours, theirs = ({image.record.sha256 for image in part} for part in (calibrated, tests))
    assert (len(ours), len(theirs), ours & theirs) == (70, 70, set())
    copied = tmp_path / "copy.png"  # a copy of one that calibrated must be no test image
    copied.write_bytes(Path(calibrated[0].record.name).read_bytes())
    assert list(ImageSplit([str(folder)], [str(copied)]).to_test(classifier, calibrated, 9)) == []
    text = "".join(f"{digest}\n" for digest in sorted(ours))
    assert image_set(ours).sha256 == hashlib.sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("flags", "bits"),
    [("flags\t\t: fpu avx2 avx512_vnni", 8), ("flags : fpu avx2", 7), ("Features\t: fp asimddp", 8), ("", 7)],
)
def test_the_processor_chooses_the_bits(tmp_path: Path, flags: str, bits: int) -> None:
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\n{flags}\nbugs : x\n")
    assert best_weight_bits(tmp_path / "cpuinfo") == bits
    assert best_weight_bits(tmp_path / "none") == 7


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "int8 needs images to calibrate on"),
        (["--calibration", "nowhere"], 2, "none of the images to calibrate on can be used: cannot read nowhere"),
        (["--calibration", "{folder}", "--keep-float", "none"], 2, "the graph has no node none; its layers are "),
        (["--calibration", "{folder}", "-o", "{tmp}/x.pt"], 2, "the output file must end in .onnx"),
        (["--calibration", "{folder}", "-o", "{model}"], 2, "is something that this command reads"),
        (["--calibration", "{folder}", "--test-images", "{folder}"], 2, "error: too few test images, 12: both files'"),
        (["--calibration", "{folder}/00*.png"], 2, "error: too few images, 10: half of them set the scales, and on"),
        (
            ["--calibration", "{folder}", "--test-images", "{folder}/00*.png", "--force"],
            2,
            "that no scale was set on; give more to --test-images",
        ),
        (["--precision", "fp16", "--calibration", "nowhere"], 2, "none of the test images can be used: cannot read"),
        (["--precision", "fp16", "--calibration", "{folder}/00*.png"], 2, "10: both files' answers are compared on"),
    ],
)
def test_errors(run, tiny: Path, folder: Path, tmp_path: Path, arguments: list[str], code: int, message: str) -> None:
    words = [word.format(folder=folder, tmp=tmp_path, model=tiny) for word in arguments]
    got, out, err = run(tiny, *words, *([] if "-o" in words else ["-o", tmp_path / "x.onnx"]))
    assert (got, out) == (code, "")
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


def test_tune_names_its_own_option(command_line, tiny: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.onnx"
    assert command_line("torchless", "tune", tiny, "-o", output) == (
        2,
        "",
        "error: int8 needs images to calibrate on, like those that the model will see: --images\n",
    )
    code, _, err = command_line("torchless", "tune", tiny, "--images", f"{folder}/00*.png", "-o", output)
    assert code == 2
    assert err.endswith("give 100 or more to --images\n")


_TUNE = """
import sys
sys.modules |= dict.fromkeys({missing!r})
from torchless.cli.main import main
if "onnx" not in sys.modules:
    from torchless_export.reduce import tune
    tune._time = lambda *_: 1.0
main()
"""


@pytest.mark.parametrize("missing", [("torch", "torchvision", "onnxscript"), ("torch", "onnx")])
def test_tune_needs_onnx_and_no_torch(tiny: Path, folder: Path, tmp_path: Path, missing: tuple[str, ...]) -> None:
    """It is for the machine where the model will run."""
    command = [sys.executable, "-c", _TUNE.format(missing=missing), "tune", tiny, "--images", folder]
    done = subprocess.run([*command, "-o", tmp_path / "x.onnx"], capture_output=True, text=True, check=False)
    if "onnx" in missing:
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == (
            "error: this command needs the extra quantize (not installed: onnx); install it: pip install "
            "'torchless[quantize]'\n"
        )
    else:
        assert done.returncode == 0, done.stderr
        assert manifest(tmp_path / "x.onnx").recommended.batch_size == 1
        assert read_artifact(tmp_path / "x.onnx").seal == Seal.INTACT


def test_what_is_int8_already_is_refused(small: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is int8 already; give the float32 file"):
        quantize.quantize(request(small, folder), tmp_path / "x.onnx")


def test_a_precision_that_there_is_not(tiny: Path, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown precision 'INT8'; it is one of int8, fp16"):
        quantize.quantize(replace(request(str(tiny), folder), precision="INT8"), str(tmp_path / "x.onnx"))


def test_an_opset_without_quantised_channels_is_refused(changed, folder: Path, tmp_path: Path) -> None:
    old = changed(lambda model: setattr(model.opset_import[0], "version", 12))
    with pytest.raises(UsageError, match="has opset 12; int8 needs one that was exported with `opset` 13 or newer"):
        quantize.quantize(request(old, folder), tmp_path / "x.onnx")


def test_tune_seals_the_fastest_that_passes(
    command_line, tiny: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick_pace: None
) -> None:
    times = {("tiny.onnx", 1): 2.0, ("tiny.onnx", 8): 6.0, ("tiny.int8.onnx", 1): 1.0, ("tiny.int8.onnx", 8): 12.0}
    monkeypatch.setattr(tune, "_time", lambda tried, threads, size, _: times[tried.path.name, size] / threads)
    monkeypatch.setattr(tune, "available_cpus", lambda: 2)
    made = {}
    for goal, precision, batch in (("latency", "int8", 1), ("throughput", "fp32", 8)):
        code, out, _ = command_line(
            "torchless", "tune", tiny, "--images", folder, "--goal", goal, "-o", tmp_path / f"{goal}.onnx"
        )
        assert code == 0
        assert len(out.splitlines()) == 1 + 8 + 2
        assert "\nint8: same top-1 as float32 on " in out
        assert max(map(len, out.splitlines()[:9])) < 80
        assert f"best: {precision}, --threads 2 --batch-size {batch}; written to" in out
        made[goal] = manifest(tmp_path / f"{goal}.onnx")
        assert (made[goal].precision, made[goal].recommended.threads, made[goal].recommended.batch_size) == (
            precision,
            2,
            batch,
        )
        assert read_artifact(tmp_path / f"{goal}.onnx").seal == Seal.INTACT
    assert made["throughput"].parity == manifest(tiny).parity
    assert (
        "tuned        for latency: --threads 2 --batch-size 1 (0.50 ms a batch on "
        in command_line("torchless", "inspect", tmp_path / "latency.onnx")[1]
    )


def test_tune_leaves_out_what_decides_otherwise(
    tiny: Path, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        quantize.decisions,
        "decide",
        lambda wanted, got, head, decide=quantize.decisions.decide: decide(wanted, -got, head),
    )
    tuned = tune.tune(TuneRequest(source=tiny, images=ImageSplit([str(folder)]), seconds=0.01), tmp_path / "x.onnx")
    assert {row.precision for row in tuned.tried} == {"fp32"}
    assert tuned.refused[0].startswith("int8 failed decision: ")


class TestFloat16:
    def test_it_decides_alike_and_keeps_float32_at_both_ends(self, run, tiny: Path, tmp_path: Path) -> None:
        code, _, err = run(tiny, "--precision", "fp16", "-o", tmp_path / "x.onnx", "--keep-float", "MaxPool")
        assert code == 0, err
        assert "float16 is for GPUs" in err
        made = manifest(tmp_path / "x.onnx")
        assert (made.precision, made.parity.rule) == ("fp16", "decisions")
        assert "MaxPool" in made.reduction.kept_float
        model = onnx.load(tmp_path / "x.onnx")
        assert {value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)} == {
            onnx.TensorProto.FLOAT
        }
        assert onnx.TensorProto.FLOAT16 in {weight.data_type for weight in model.graph.initializer}
        assert np.abs(Classifier(tmp_path / "x.onnx").logits([PHOTO]) - Classifier(tiny).logits([PHOTO])).max() < 0.05

    def test_nodes_near_its_end_stay_float32(self, tiny: Path, tmp_path: Path) -> None:
        model = onnx.load(tiny)
        last = next(node for node in model.graph.node if node.op_type == "Gemm")
        weights = {weight.name: weight for weight in model.graph.initializer}
        for name in (last.input[1], last.input[2]):
            weights[name].CopyFrom(
                onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weights[name]) * 30_000, name)
            )
        (tmp_path / "large.onnx").write_bytes(model.SerializeToString())
        classifier = Classifier(tmp_path / "large.onnx")
        half = to_float16(tmp_path / "large.onnx", [classifier.preprocess(PHOTO)[None]], "input")
        assert half.kept_float[-1] == last.name
        assert any("of float16's 65504" in note for note in half.notes)

    def test_weights_that_only_float32_reads(self, tmp_path: Path) -> None:
        """As in transformers: torch's exporter states the types of LayerNormalization's weights twice."""
        network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.LayerNorm(12), torch.nn.Linear(12, 4)).eval()
        path, batch = tmp_path / "norm.onnx", np.random.default_rng(0).random((2, 3, 2, 2), dtype=np.float32)
        made = torch.onnx.export(network, (torch.from_numpy(batch),), dynamo=True, input_names=["input"], verbose=False)
        made.save(path)
        half = to_float16(path, [batch], "input")
        onnx.checker.check_model(half.model, full_check=True)
        types = {weight.data_type for weight in half.model.graph.initializer}
        assert types >= {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16}

    def test_an_operator_that_is_not_there(self, run, tiny: Path, tmp_path: Path) -> None:
        code, _, err = run(tiny, "--precision", "fp16", "--keep-float", "Erf", "-o", tmp_path / "x.onnx")
        assert code == 2
        assert "has no operator Erf; it has " in err


@pytest.mark.parametrize("same", [True, False])
def test_tune_takes_bfloat16_where_it_decides_alike(
    command_line,
    tiny: Path,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    quick_pace: None,
    same: bool,
) -> None:
    """As on a processor of ARM with BF16; here ONNX Runtime goes on in float32, so the other answers are made up."""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    monkeypatch.setattr(tune, "features", lambda: ("asimd", "bf16"))
    monkeypatch.setattr(tune, "_time", lambda tried, *_: {"cpu": 2.0, "cpu,bf16": 1.0}[tried.device])
    run = Classifier.run

    def run_otherwise(self: Classifier, batch: np.ndarray, **more: object) -> np.ndarray:
        logits = run(self, batch, **more)
        return logits if same or self.device == "cpu" else logits[:, ::-1]

    monkeypatch.setattr(Classifier, "run", run_otherwise)
    code, out, _ = command_line("torchless", "tune", tiny, "--images", folder, "-o", tmp_path / "x.onnx")
    assert code == 0
    if same:
        assert "\nfp32,bf16: same top-1 as float32 on 100" in out, out
        assert "best: fp32,bf16, --device cpu,bf16 --threads 1 --batch-size 1; written to" in out
        assert manifest(tmp_path / "x.onnx").recommended.device == "cpu,bf16"
        assert "--device cpu,bf16 --threads 1" in command_line("torchless", "inspect", tmp_path / "x.onnx")[1]
    else:
        assert "\nfp32,bf16 failed decision" in out
        assert "best: fp32, --threads" in out
