import json
from dataclasses import replace
from pathlib import Path

import hypothesis.strategies as st
import pytest
from hypothesis import given

from torchless.errors import ManifestError, ManifestVersionError, UsageError
from torchless.model.manifest import (
    Check,
    DataFile,
    ImageRecord,
    InputInfo,
    Manifest,
    Metrics,
    ModelInfo,
    OutputInfo,
    Parity,
    ProducedBy,
    Published,
)
from torchless.model.onnxfile import read_onnx
from torchless.model.preprocessing import Preprocess, PreprocessChanges, Resize, parse_interpolation

numbers = st.floats(allow_nan=False, allow_infinity=False, width=64)
texts = st.text(max_size=20)
three = st.tuples(numbers, numbers, numbers)
sides = st.tuples(st.integers(1, 2000), st.integers(1, 2000))
resizes = (
    st.builds(Resize, mode=st.sampled_from(["short_side", "long_side"]), size=st.tuples(st.integers(1, 2000)) | sides)
    | st.builds(Resize, mode=st.just("exact"), size=sides)
    | st.just(Resize(mode="none"))
)
optional_text = st.none() | texts
manifests = st.builds(
    Manifest,
    model=st.builds(
        ModelInfo,
        name=texts,
        source=st.sampled_from(["torchvision", "builder", "unknown"]),
        weights=optional_text,
        num_params=st.none() | st.integers(),
        seed=st.none() | st.integers(),
        checkpoint=optional_text,
        labels_file=optional_text,
        changes=st.none()
        | st.builds(
            PreprocessChanges, resize=st.none() | resizes, crop=st.none() | st.just(()) | sides, mean=st.none() | three
        ),
    ),
    preprocess=st.builds(
        Preprocess,
        resize=resizes,
        crop=st.none() | sides,
        mean=three,
        std=st.tuples(*[st.floats(1e-6, 1e6)] * 3),
        interpolation=st.sampled_from(["bilinear", "bicubic", "nearest", "lanczos"]),
    ),
    labels=st.lists(texts, max_size=4).map(tuple),
    input=st.builds(InputInfo, name=texts, shape=st.lists(st.integers() | texts, max_size=4).map(tuple)),
    output=st.builds(
        OutputInfo,
        name=texts,
        activation=st.sampled_from(["softmax", "sigmoid", "none"]),
        thresholds=st.none() | st.lists(numbers, max_size=3).map(tuple),
    ),
    published=st.none() | st.builds(Published, acc1=st.none() | numbers, dataset=optional_text),
    parity=st.none()
    | st.builds(
        Parity,
        passed=st.booleans(),
        checks=st.lists(
            st.builds(Check, name=texts, passed=st.booleans(), figure=numbers, limit=numbers, detail=texts), max_size=3
        ).map(tuple),
        max_abs_error=numbers,
        images=st.integers(0),
        rule=st.sampled_from(["float64", "spread"]),
        spread=st.none() | numbers,
        metrics=st.lists(
            st.builds(
                Metrics,
                images=texts,
                own_error=st.none() | numbers,
                units=st.none() | numbers,
                **dict.fromkeys(
                    ("max_abs_error", "p99_abs_error", "error_of_spread", "cosine", "kl_divergence"), numbers
                ),
                top1_agreement=numbers,
                top5_overlap=numbers,
            ),
            max_size=2,
        ).map(tuple),
        judges=st.lists(st.builds(ImageRecord, set=texts, name=texts, sha256=texts), max_size=2).map(tuple),
    ),
    files=st.none() | st.builds(DataFile, data=texts, sha256=texts),
    produced_by=st.none() | st.builds(ProducedBy, torchless=texts, opset=st.none() | st.integers()),
)


@given(manifests)
def test_json_round_trip(manifest: Manifest) -> None:
    assert Manifest.from_json(manifest.to_json()) == manifest


@pytest.fixture
def document(tiny: Path) -> dict:
    return json.loads(read_onnx(tiny).metadata[Manifest.KEY])


def test_the_artifact_has_the_documented_fields(document: dict) -> None:
    assert next(iter(document)) == "schema_version"
    assert set(document) == {
        "schema_version", "model", "preprocess", "labels", "output", "input", "published", "parity", "precision",
        "reduction", "recommended", "files", "produced_by", "assumed",
    }  # fmt: skip
    assert document["schema_version"] == 2
    assert document["input"] == {"name": "input", "dtype": "float32", "shape": ["batch", 3, 32, 32]}
    assert document["output"] == {"name": "logits", "activation": "softmax", "thresholds": None, "top_k": None}
    assert document["preprocess"] == {
        "resize": {"mode": "short_side", "size": [37], "rounding": "down"}, "crop": [32, 32], "channels": 3,
        "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3], "interpolation": "bicubic", "antialias": True,
        "grayscale": None, "fill": None, "scale": "divide", "centering": "even",
    }  # fmt: skip
    assert document["parity"]["passed"] is True


def test_published_figures_have_torchvisions_names(document: dict) -> None:
    document["published"] = {"acc@1": 80.858, "acc@5": 95.434, "gflops": 4.089, "dataset": "ImageNet-1K"}
    manifest = Manifest.from_json(json.dumps(document))
    assert manifest.published == Published(acc1=80.858, acc5=95.434, gflops=4.089, dataset="ImageNet-1K")
    assert json.loads(manifest.to_json())["published"] == document["published"]


def test_the_first_schema_is_read_for_good() -> None:
    manifest = Manifest.from_json(Path(__file__).with_name("manifest-1.json").read_text())
    short_side = Resize(mode="short_side", size=(37,))
    assert manifest.preprocess == Preprocess(
        resize=short_side, crop=(32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3), interpolation="bicubic"
    )
    assert manifest.output.activation == "softmax"
    assert manifest.model.changes == PreprocessChanges(resize=short_side, crop=(32, 32), mean=(0.4, 0.5, 0.6))
    assert json.loads(manifest.to_json())["schema_version"] == 2


def test_unknown_fields_are_ignored(document: dict) -> None:
    document["model"]["color_of_the_box"] = "blue"
    document["novelty"] = [1, 2]
    assert Manifest.from_json(json.dumps(document)).model.name == "tiny"


def test_a_newer_version_is_refused_with_both_numbers(document: dict) -> None:
    document["schema_version"] = 3
    document["model"] = "may look like anything"
    with pytest.raises(ManifestVersionError, match=r"schema version 3, this torchless reads up to version 2"):
        Manifest.from_json(json.dumps(document))


@pytest.mark.parametrize("version", [None, "1", 0, 1.5, True])
def test_a_senseless_version_is_refused(document: dict, version: object) -> None:
    document["schema_version"] = version
    with pytest.raises(ManifestError, match="schema_version: expected a whole number"):
        Manifest.from_json(json.dumps(document))


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model",), 3, r"manifest\.model: expected an object, got 3"),
        (("model", "name"), None, r"manifest\.model\.name: expected a string, got null"),
        (("model", "num_params"), 1.5, r"manifest\.model\.num_params: expected a whole number"),
        (("preprocess", "mean"), [0.1, 0.2], r"preprocess: 3 channels need 3 numbers as mean and as std"),
        (("preprocess", "channels"), 2, r"manifest\.preprocess\.channels: expected one of 1, 3"),
        (("preprocess", "resize", "size"), [3, 4, 5], r"a resize of mode short_side cannot have the size \[3, 4, 5\]"),
        (("preprocess", "fill"), [0, 0, 256], r"fill must be three numbers in 0\.\.255"),
        (("output", "activation"), "softmin", r'manifest\.output\.activation: expected one of "softmax"'),
        (("preprocess", "mean", 1), "x", r'manifest\.preprocess\.mean\[1\]: expected a finite number, got "x"'),
        (("preprocess", "interpolation"), "cubic", r'manifest\.preprocess\.interpolation: expected one of "nearest"'),
        (("preprocess", "antialias"), False, r"manifest\.preprocess\.antialias: expected one of true"),
        (("preprocess", "crop", 0), 0, r"a crop cannot have the size \[0, 32\]"),
        (("preprocess", "crop", 0), 2**31, r"a crop cannot have the size \[2147483648, 32\]"),
        (("preprocess", "resize", "size"), [10**400], r"a resize of mode short_side cannot have the size \[1000"),
        (("preprocess", "std", 2), 0, r"every std above 0"),
        (("preprocess", "mean", 0), 10**400, r"manifest\.preprocess\.mean\[0\]: expected a finite number"),
        (("preprocess", "std", 0), float("inf"), r"manifest\.preprocess\.std\[0\]: expected a finite number"),
        (("labels",), "tench", r"manifest\.labels: expected a list"),
        (("parity", "passed"), 1, r"manifest\.parity\.passed: expected true or false"),
        (("input", "shape", 0), None, r"manifest\.input\.shape\[0\]"),
    ],
)
def test_errors_name_the_field(document: dict, path: tuple, value: object, message: str) -> None:
    inner = document
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ManifestError, match=message):
        Manifest.from_json(json.dumps(document))


def test_a_missing_field_is_named(document: dict) -> None:
    del document["preprocess"]["std"]
    with pytest.raises(ManifestError, match=r"manifest\.preprocess\.std is missing"):
        Manifest.from_json(json.dumps(document))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "[" * 100_000, '{"schema_version": ' + "9" * 5000 + "}"])
def test_what_is_no_json_object_is_refused(text: str) -> None:
    with pytest.raises(ManifestError):
        Manifest.from_json(text)


def test_untrained(tiny: Path) -> None:
    manifest = Manifest.from_json(read_onnx(tiny).metadata[Manifest.KEY])
    assert manifest.is_trained
    assert not replace(manifest, model=replace(manifest.model, weights=None)).is_trained


def test_interpolation_names() -> None:
    assert parse_interpolation("BICUBIC") == "bicubic"
    with pytest.raises(UsageError, match="'cubic'; it is one of nearest"):
        parse_interpolation("cubic")
