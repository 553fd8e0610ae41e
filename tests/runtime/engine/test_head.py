import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import write_with_head
from tests.data import LABELS

from torchless import Classifier, FileDescription, Result
from torchless.engine.head import Head, make_head
from torchless.errors import ManifestError, UsageError
from torchless.model.manifest import Manifest, OutputInfo
from torchless.model.onnxfile import read_onnx
from torchless.model.preprocessing import Resize

ANIMALS = ("ant", "bee", "dog")


def head(activation: str, labels: tuple[str, ...], outputs: int, thresholds: tuple[float, ...] | None = None) -> Head:
    return make_head(OutputInfo(name="y", activation=activation, thresholds=thresholds), labels, outputs)  # type: ignore[arg-type]


def found(head: Head, *output: float, top_k: int | None = None) -> list[tuple[str, float]]:
    result = head.rank(None, np.array(output, np.float32), top_k)
    return [(prediction.label, round(prediction.probability, 3)) for prediction in result.predictions]


def logit(probability: float) -> float:
    return math.log(probability / (1 - probability))


def test_single_label_models_have_the_five_most_probable_classes() -> None:
    wide = head("softmax", tuple("abcdefg"), 7)
    assert [label for label, _ in found(wide, 1, 7, 3, 6, 2, 5, 4)] == list("bdfgc")
    assert [label for label, _ in found(wide, 1, 7, 3, 6, 2, 5, 4, top_k=6)] == list("bdfgce")
    assert found(head("softmax", ANIMALS, 3), 0, math.log(2), math.log(5), top_k=2) == [("dog", 0.625), ("bee", 0.25)]
    assert not wide.multi_label


def test_multi_label_models_have_the_classes_that_reach_their_threshold() -> None:
    multi = head("sigmoid", ANIMALS, 3)
    assert found(multi, logit(0.991), logit(0.49), logit(0.541)) == [("ant", 0.991), ("dog", 0.541)]
    assert found(multi, logit(0.991), logit(0.49), logit(0.541), top_k=1) == [("ant", 0.991)]
    assert found(head("sigmoid", ANIMALS, 3, (0.995, 0.4, 0.5)), logit(0.991), logit(0.49), 0) == [
        ("dog", 0.5),
        ("bee", 0.49),
    ]


def test_where_no_class_reaches_its_threshold_the_nearest_is_named() -> None:
    result = head("sigmoid", ANIMALS, 3, (0.9, 0.5, 0.5)).rank("x", np.array([1, -3, -0.8], np.float32), None)
    assert (result.ok, result.predictions) == (True, ())
    assert result.nearest is not None
    assert (result.nearest.label, result.nearest.threshold) == ("ant", 0.9)
    assert result.to_dict()["predictions"] == []
    assert result.to_dict()["nearest"]["probability"] == pytest.approx(1 / (1 + math.exp(-1)))
    assert Result.from_json(result.to_json()) == result


@pytest.mark.parametrize("probability", [0.335, 0.032, 0.932, 0.980])
def test_one_output_decides_between_two_labels_or_is_a_class_of_its_own(probability: float) -> None:
    two = head("sigmoid", ("fine", "defect"), 1)
    assert two.binary
    assert not two.multi_label
    assert dict(found(two, logit(probability))) == {"defect": probability, "fine": round(1 - probability, 3)}
    assert found(two, logit(probability))[0][0] == ("defect" if probability > 0.5 else "fine")
    one = head("sigmoid", ("defect",), 1)
    assert one.multi_label
    assert found(one, logit(probability)) == ([("defect", probability)] if probability > 0.5 else [])


def test_probabilities_of_the_graph_are_left_as_they_are() -> None:
    assert found(head("none", ANIMALS, 3), 0.982, 0.011, 0.007)[0] == ("ant", 0.982)
    assert found(head("none", ANIMALS, 3, (0.5, 0.5, 0.5)), 0.991, 0.2, 0.541) == [("ant", 0.991), ("dog", 0.541)]
    assert found(head("none", ("fine", "defect"), 1), 0.75) == [("defect", 0.75), ("fine", 0.25)]


def test_logits_of_any_size_have_a_probability() -> None:
    multi = head("sigmoid", ANIMALS, 3)
    assert found(multi, 1e4, -1e4, 1e3) == [("ant", 1.0), ("dog", 1.0)]  # the larger one is still the first


def test_cuts_are_thresholds_among_the_scores() -> None:
    thresholds = (0.2, 0.5, 0.9)
    np.testing.assert_allclose(head("sigmoid", ANIMALS, 3, thresholds).cuts(), [logit(each) for each in thresholds])
    np.testing.assert_array_equal(head("none", ANIMALS, 3, thresholds).cuts(), thresholds)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (("softmax", ("defect",), 1), UsageError, "one number for an image, of which a softmax always makes 1.0"),
        (("softmax", ("fine", "defect"), 1), UsageError, "give `activation` sigmoid"),
        (("sigmoid", ANIMALS, 1), UsageError, "3 labels; a model with one output takes two"),
        (("sigmoid", ANIMALS, 2), UsageError, "3 labels, the model has 2 classes"),
        (("sigmoid", ANIMALS, 3, (0.5,)), ManifestError, "output.thresholds has 1 numbers, there are 3 labels"),
        (("sigmoid", ANIMALS, 3, (0.5, 0.5, 1.0)), ManifestError, "between 0 and 1, got 1"),
        (("softmax", ANIMALS, 3, (0.5, 0.5, 0.5)), ManifestError, "for multi-label models, but output.activation is"),
    ],
)
def test_heads_that_fit_no_output_are_refused(arguments: tuple, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        head(*arguments)


def test_a_classifier_takes_its_head_from_the_manifest(multi_label: Path, binary: Path, photos: Path) -> None:
    rocket = photos / "rocket.jpg"  # logits 6.3, 1.2, 1.8, 11.1, 9.7
    result = Classifier(multi_label, device="cpu").classify(rocket)
    assert [prediction.label for prediction in result.predictions] == ["three", "four", "zero", "two", "one"]
    assert result.predictions[1].threshold == 0.9
    row = result.to_dict()
    assert row["multi_label"] is True
    assert set(row["predictions"][0]) == {"index", "label", "probability", "threshold"}
    result = Classifier(binary, device="cpu").classify(rocket)
    assert result.to_dict() == {
        "image": str(rocket),
        "predictions": [
            {"index": 1, "label": "defect", "probability": pytest.approx(0.7770, abs=1e-4)},
            {"index": 0, "label": "fine", "probability": pytest.approx(0.2230, abs=1e-4)},
        ],
        "error": None,
    }


def test_a_threshold_can_be_given_for_a_multi_label_model(
    multi_label: Path, tiny: Path, binary: Path, photos: Path
) -> None:
    strict = Classifier(multi_label, device="cpu", threshold=0.9999)
    assert [each.label for each in strict.classify(photos / "rocket.jpg").predictions] == ["three", "four"]
    assert [result.multi_label for result in strict.classify_many(["none.jpg"])] == [True]
    for model in (tiny, binary):
        with pytest.raises(UsageError, match="`threshold` is for multi-label models; this one gives each image one"):
            Classifier(model, device="cpu", threshold=0.4)
    for value in (0, 1, 1.5, float("nan")):
        with pytest.raises(UsageError, match="`threshold` is a probability between 0 and 1"):
            Classifier(multi_label, device="cpu", threshold=value)


def test_faults_of_a_files_own_head_name_the_file(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    write_with_head(model, labels=("a",), activation="softmax", output=0)
    with pytest.raises(ManifestError, match=f"{model}: the model gives one number"):
        Classifier(model, device="cpu")
    write_with_head(model, labels=LABELS, thresholds=(0.5,))
    with pytest.raises(ManifestError, match=f"{model}: output.thresholds has 1 numbers"):
        Classifier(model, device="cpu")


def test_probabilities_of_a_file_without_a_manifest_are_multi_label_with_a_threshold(
    changed: Callable[..., Path], tiny: Path
) -> None:
    model, own = changed(manifest=""), Manifest.from_json(read_onnx(tiny).metadata[Manifest.KEY]).preprocess
    description = FileDescription(
        resize=Resize(mode="short_side", size=(37,)), mean=own.mean, std=own.std, activation="none"
    )
    open_ = {"device": "cpu", "labels": LABELS}
    assert not Classifier(model, description=description, **open_).head.multi_label  # type: ignore[arg-type]
    multi = Classifier(model, description=description, threshold=0.3, **open_)  # type: ignore[arg-type]
    assert multi.head.thresholds == (0.3,) * 5
    described = replace(description, activation="sigmoid")
    assert Classifier(model, description=described, threshold=0.3, **open_).head.thresholds == (0.3,) * 5  # type: ignore[arg-type]
