"""--preprocess-in-graph: the graph's pixels are torchvision's, the gate sees to it, and every command takes such a file
as any other.
"""

import json
from collections.abc import Callable
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from tests.conftest import REPO
from tests.preprocessing import is_modest, noise, pictures, specs

from torchless import Classifier
from torchless.engine.head import make_head
from torchless.errors import ManifestError, UsageError
from torchless.image.preprocess import preprocess
from torchless.model.artifact import read_artifact
from torchless.model.manifest import Activation, Manifest
from torchless.model.preprocessing import Preprocess
from torchless_export.convert.to_onnx import opset_of
from torchless_export.errors import ParityError
from torchless_export.export import export_model
from torchless_export.gate.checks import check
from torchless_export.in_graph.build import PREFIX, GraphPreprocessing, InGraph, add_preprocessing, put_in_graph
from torchless_export.in_graph.nodes import Nodes
from torchless_export.in_graph.resample import FILTERS
from torchless_export.sources.load import LoadedModel, load
from torchless_export.sources.request import ModelRequest

REQUEST = ModelRequest(model="tiny", builder="tests.models:tiny")


@pytest.fixture(scope="module")
def in_graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with chdir(REPO):
        return export_model(
            REQUEST, output=tmp_path_factory.mktemp("in_graph") / "tiny.onnx", opset=18, in_graph=InGraph(top_k=3)
        ).path


Preprocessing = Callable[[Preprocess], GraphPreprocessing]


@pytest.fixture(scope="module")
def preprocessing(tmp_path_factory: pytest.TempPathFactory) -> Preprocessing:
    """A Preprocess as a graph of its own."""
    path = tmp_path_factory.mktemp("graphs") / "graph.onnx"

    def build(spec: Preprocess) -> GraphPreprocessing:
        op = Nodes(PREFIX)
        add_preprocessing(op, spec, "prepared")
        image = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["height", "width", 3])
        end = onnx.helper.make_tensor_value_info("prepared", onnx.TensorProto.FLOAT, None)
        graph = onnx.helper.make_graph(op.nodes, "preprocessing", [image], [end], op.constants)
        onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=9), path)
        return GraphPreprocessing(path, threads=1)

    return build


@pytest.fixture(scope="module")
def graphs(preprocessing: Preprocessing) -> list[tuple[Preprocess, GraphPreprocessing]]:
    """For each of Pillow's filters; the second crop is larger than the image it is cut from."""
    numbers = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.25, 0.3)}
    specs = [
        Preprocess.centered(resize=resize, crop=crop, interpolation=name, **numbers)
        for name in FILTERS
        for resize, crop in ((37, 32), (20, 25))
    ]
    return [(spec, preprocessing(spec)) for spec in specs]


def assert_pixels(got: np.ndarray, wanted: np.ndarray, spec: Preprocess) -> None:
    """The same bits; with hamming and lanczos, whose sines may differ in the last bit, a few values off by one."""
    if spec.interpolation in ("hamming", "lanczos"):
        assert (got != wanted).mean() < 0.001 or wanted.size < 1000
        np.testing.assert_allclose(got, wanted, atol=1.01 / 255 / min(spec.std))
    else:
        np.testing.assert_array_equal(got, wanted)


class TestPixels:
    @given(width=st.integers(1, 300), height=st.integers(1, 300), seed=st.integers(0, 9))
    @example(width=1, height=1, seed=0)
    @example(width=30, height=290, seed=1)  # so tall that Pillow 13 goes down first
    @settings(max_examples=40)
    def test_any_size_is_torchvisions_bit_for_bit(self, graphs, width: int, height: int, seed: int) -> None:
        image = noise(width, height, seed)
        for spec, inside in graphs:
            assert_pixels(inside(image), preprocess(image, spec), spec)

    def test_a_large_photo(self, graphs) -> None:
        image = noise(64, 48).resize((3000, 2000), Image.Resampling.BICUBIC)
        for spec, inside in graphs[:4]:
            np.testing.assert_array_equal(inside(image), preprocess(image, spec))

    @given(spec=specs(fixed_size=True), first=pictures(120), second=pictures(90))
    @settings(max_examples=40, deadline=None)
    def test_any_preprocessing(
        self, preprocessing: Preprocessing, spec: Preprocess, first: Image.Image, second: Image.Image
    ) -> None:
        inside = preprocessing(spec)
        for image in (first, second):
            if is_modest(image, spec):
                assert_pixels(inside(image), preprocess(image, spec), spec)


@pytest.mark.parametrize("activation", ["softmax", "sigmoid", "none"])
def test_the_graph_ranks_by_any_head(tiny: Path, tmp_path: Path, activation: Activation) -> None:
    """Of a multi-label model the best ones, whatever their thresholds."""
    model, manifest = onnx.load(tiny), read_artifact(tiny).manifest
    manifest = replace(manifest, output=replace(manifest.output, activation=activation))
    put_in_graph(model, manifest, InGraph(top_k=4))
    onnx.save(model, tmp_path / "ranked.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "ranked.onnx")
    logits, probabilities, classes, labels = session.run(None, {"image": np.asarray(noise(90, 70))})
    head = make_head(manifest.output, manifest.labels, logits.shape[1])
    wanted = np.argsort(-logits[0], kind="stable")[:4]
    assert classes.tolist() == wanted.tolist()
    assert labels.tolist() == [manifest.labels[index] for index in wanted]
    np.testing.assert_allclose(probabilities, head.probabilities(logits)[0][wanted], atol=1e-6)


class TestArtifact:
    def test_what_it_says_of_itself(self, in_graph: Path) -> None:
        manifest = read_artifact(in_graph).manifest
        assert (manifest.input.name, manifest.input.dtype, manifest.input.shape) == (
            "image",
            "uint8",
            ("height", "width", 3),
        )
        assert (manifest.output.name, manifest.output.activation, manifest.output.top_k) == ("logits", "softmax", 3)
        checks = {check.name: check for check in manifest.parity.checks}
        assert list(checks)[:7] == [
            "reference", "structure", "labels", "pixels_differing", "pixels_largest", "pixels_top1", "top_k",
        ]  # fmt: skip
        assert (checks["pixels_differing"].figure, checks["pixels_largest"].figure) == (0, 0)
        assert "values in 26 images" in checks["pixels_differing"].detail
        assert "batching" not in checks
        assert opset_of(onnx.load(in_graph)) == 18

    def test_the_answers_are_those_of_the_plain_artifact(self, in_graph: Path, tiny: Path, photos: Path) -> None:
        plain, ours = Classifier(tiny, device="cpu"), Classifier(in_graph, device="cpu")
        images = [photos / "coffee.png", noise(31, 200), noise(500, 40), noise(32, 32)]
        np.testing.assert_allclose(ours.logits(images), plain.logits(images), rtol=1e-4, atol=1e-5)
        for got, wanted in zip(
            ours.classify_many(images, batch_size=3, workers=2), plain.classify_many(images), strict=True
        ):
            assert [each.index for each in got.predictions] == [each.index for each in wanted.predictions]

    def test_the_graph_ranks_by_itself(self, in_graph: Path) -> None:
        image = noise(90, 70)
        session = onnxruntime.InferenceSession(in_graph)
        probabilities, classes, labels = session.run(
            ["top_probabilities", "top_classes", "top_labels"], {"image": np.asarray(image)}
        )
        wanted = Classifier(in_graph, device="cpu").classify(image, top_k=3).predictions
        assert classes.tolist() == [each.index for each in wanted]
        assert labels.tolist() == [each.label for each in wanted]
        np.testing.assert_allclose(probabilities, [each.probability for each in wanted], atol=1e-6)

    def test_infer_evaluate_and_inspect_take_it(
        self, in_graph: Path, photos: Path, tmp_path: Path, command_line
    ) -> None:
        code, out, _ = command_line(
            "infer", in_graph, photos / "coffee.png", photos / "rocket.jpg", "-f", "jsonl", "-d", "cpu"
        )
        rows = [json.loads(line) for line in out.splitlines()]
        assert (code, len(rows)) == (0, 2)
        best = rows[0]["predictions"][0]["label"]
        (tmp_path / "list.csv").write_text(f"image,label\n{photos / 'coffee.png'},{best}\n")
        assert (
            "top-1 error  0.00 %"
            in command_line("torchless", "evaluate", in_graph, tmp_path / "list.csv", "-d", "cpu")[1]
        )
        assert "image" in command_line("torchless", "inspect", in_graph)[1]

    def test_bench_and_compare_can_measure_it(self, in_graph: Path) -> None:
        from torchless_export.compare.measure import Task, measure

        sample = measure(Task(model=str(in_graph), device="cpu", threads=1, seconds=0.05))
        assert min(sample.single_ms) > 0 < min(sample.batch_ms)

    def test_verify_takes_it(self, in_graph: Path, photos: Path, command_line, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(REPO)
        code, out, _ = command_line("torchless", "verify", in_graph, "--images", photos / "coffee.png")
        assert code == 0, out
        assert "logits_yours" in out


@pytest.fixture(scope="module")
def loaded() -> LoadedModel:
    with chdir(REPO):
        return load(REQUEST)


class TestGate:
    def failed(self, loaded, in_graph: Path, tmp_path: Path, change) -> list[str]:
        model = onnx.load(in_graph)
        change(model)
        onnx.save(model, tmp_path / "changed.onnx")
        return check(loaded, tmp_path / "changed.onnx").failed

    def test_a_wrong_scale_is_caught(self, loaded, in_graph: Path, tmp_path: Path) -> None:
        def change(model: onnx.ModelProto) -> None:
            model.graph.initializer.append(onnx.numpy_helper.from_array(np.float32(256), "preprocess/256"))
            divisions = [node for node in model.graph.node if node.name.startswith("preprocess/Div")]
            divisions[-2].input[1] = "preprocess/256"  # the last but one is the division by 255

        assert "pixels_differing" in self.failed(loaded, in_graph, tmp_path, change)

    def test_a_crop_that_is_one_pixel_off_is_caught(self, loaded, in_graph: Path, tmp_path: Path) -> None:
        def change(model: onnx.ModelProto) -> None:
            next(node for node in model.graph.node if node.op_type == "Round").op_type = "Ceil"

        assert "pixels_differing" in self.failed(loaded, in_graph, tmp_path, change)

    def test_labels_in_another_order_are_caught(self, loaded, in_graph: Path, tmp_path: Path) -> None:
        def change(model: onnx.ModelProto) -> None:
            (labels,) = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.STRING]
            labels.string_data.reverse()

        assert self.failed(loaded, in_graph, tmp_path, change) == ["top_k"]

    def test_a_frozen_size_is_caught(self, loaded, in_graph: Path, tmp_path: Path) -> None:
        def change(model: onnx.ModelProto) -> None:
            model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 64

        assert self.failed(loaded, in_graph, tmp_path, change) == ["structure"]

    def test_a_failed_gate_leaves_no_file(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(REPO)
        monkeypatch.setattr("torchless_export.in_graph.resample._TALL_GO_DOWN_FIRST", False)
        with pytest.raises(ParityError, match="pixels_differing"):
            export_model(REQUEST, output=tmp_path / "tiny.onnx", in_graph=InGraph())
        assert list(tmp_path.iterdir()) == []


class TestErrors:
    def test_images_of_many_sizes(self, tmp_path: Path, command_line, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(REPO)
        code, _, err = command_line(
            "torchless", "export", "tiny", "--builder", "tests.models:tiny", "--resize", "long:32", "--crop", "none",
            "--preprocess-in-graph", "-o", tmp_path / "x.onnx",
        )  # fmt: skip
        assert code == 2
        assert "--crop" in err

    def test_more_best_classes_than_there_are(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(REPO)
        with pytest.raises(UsageError, match="a graph can give the best 1 to 5 of its 5 classes; got 6"):
            export_model(REQUEST, output=tmp_path / "x.onnx", in_graph=InGraph(top_k=6))

    def test_an_opset_that_is_too_old(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(REPO)
        with pytest.raises(UsageError, match="preprocessing in the graph needs `opset` 18 or newer; got 17"):
            export_model(REQUEST, output=tmp_path / "x.onnx", opset=17, in_graph=InGraph())

    def test_top_k_alone(self, command_line) -> None:
        code, _, err = command_line("torchless", "export", "tiny", "--topk-in-graph", "5")
        assert code == 2
        assert "--topk-in-graph goes with --preprocess-in-graph" in err

    def test_a_manifest_that_says_otherwise(self, in_graph: Path, tmp_path: Path) -> None:
        model = onnx.load(in_graph)
        manifest = read_artifact(in_graph).manifest.to_json().replace('"uint8"', '"float32"')
        onnx.helper.set_model_props(model, {Manifest.KEY: manifest})
        onnx.save(model, tmp_path / "x.onnx")
        with pytest.raises(
            ManifestError,
            match=r"images are passed as float32 \(batch, 3, 32, 32\), the graph takes tensor\(uint8\) \(height, "
            r"width, 3\)",
        ):
            Classifier(tmp_path / "x.onnx", device="cpu")
