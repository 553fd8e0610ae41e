"""Where a model's labels come from, and what is said of it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from torchless.errors import UsageError
from torchless_export.sources.labels import labels_for
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest

WEIGHTS = {"fc.weight": torch.zeros(3, 3)}
ANIMALS = ("ant", "bee", "cat")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(
    own: tuple[str, ...] = ("tench",), *, labels: Any = None, beside: dict[str, Any] | None = None, **request: Any
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a model of three classes gets: `labels` as a JSON file, `beside` beside the weights in a checkpoint."""
    if labels is not None:
        Path("mine.json").write_text(json.dumps(labels))
        request["labels"] = Path("mine.json")
    if beside is not None:
        torch.save({"state_dict": WEIGHTS} | beside, "mine.pth")
        request["checkpoint"] = Path("mine.pth")
    return labels_for(ModelRequest(model="x", **request), own, 3, "softmax")


@pytest.mark.usefixtures("folder")
class TestFromTheCheckpoint:
    @pytest.mark.parametrize(
        ("beside", "note"),
        [
            (
                {"class_to_idx": {"bee": 1, "ant": 0, "cat": 2}},
                "labels: 3 from class_to_idx in mine.pth, read as {name: index}",
            ),
            ({"classes": list(ANIMALS)}, "labels: 3 from classes in mine.pth, read as a list"),
            (
                {"hyper_parameters": {"classes": ANIMALS, "lr": 0.1}},
                "labels: 3 from classes in mine.pth, read as a list",
            ),
            (
                {"classes": 3, "class_to_idx": {"ant": 0, "bee": 1, "cat": 2}},
                "labels: 3 from class_to_idx in mine.pth, read as {name: index}",
            ),
        ],
        ids=["class_to_idx", "classes", "Lightning", "a number beside it"],
    )
    def test_they_are_taken(self, beside: dict[str, Any], note: str) -> None:
        assert found(beside=beside) == (ANIMALS, (note,))

    def test_through_load(self) -> None:
        state = load(ModelRequest(model="resnet18", weights="none", num_classes=3)).module.state_dict()
        torch.save({"model": state, "classes": ANIMALS}, "mine.pth")
        loaded = load(ModelRequest(model="resnet18", checkpoint=Path("mine.pth")))
        assert loaded.labels == ANIMALS
        assert loaded.notes[-1] == "labels: 3 from classes in mine.pth, read as a list"

    @pytest.mark.parametrize(
        ("beside", "message"),
        [
            ({"class_to_idx": {"ant": 0, "bee": 2, "cat": 3}}, "class_to_idx in mine.pth: there is no class 1, though"),
            ({"classes": ["ant", "bee"]}, "classes in mine.pth, read as a list, holds 2 labels, the model has 3"),
            (
                {"classes": ["ant", "cat", "bee"], "class_to_idx": {"ant": 0, "bee": 1, "cat": 2}},
                "class_to_idx in mine.pth and classes in mine.pth differ: class 1 is 'bee', or 'cat'",
            ),
            ({"classes": 3}, "the checkpoint has 3 classes; give their names as `labels`"),
        ],
    )  # fmt: skip
    def test_what_is_refused(self, beside: dict[str, Any], message: str) -> None:
        with pytest.raises(UsageError) as caught:
            found(beside=beside)
        assert message in str(caught.value)


@pytest.mark.usefixtures("folder")
class TestFromTheUser:
    def test_the_form_is_said(self) -> None:
        note = "labels: 3 from mine.json, read as {index: name}"
        assert found(labels={"2": "cat", "0": "ant", "1": "bee"}) == (ANIMALS, (note,))

    def test_so_are_classes_of_one_name(self) -> None:
        Path("mine.txt").write_text("crane\nbee\ncrane\n")
        note = "labels: in mine.txt, 'crane' is the name of classes 0 and 2"
        names, notes = labels_for(ModelRequest(model="x", labels=Path("mine.txt")), (), 3, "softmax")
        assert (names, notes) == (("crane", "bee", "crane"), (note,))

    def test_a_name_a_line_needs_no_words(self) -> None:
        Path("mine.txt").write_text("ant\nbee\ncat\n")
        assert labels_for(ModelRequest(model="x", labels=Path("mine.txt")), (), 3, "softmax") == (ANIMALS, ())

    def test_they_may_name_the_checkpoints_classes_otherwise(self) -> None:
        beside = {"class_to_idx": {"n01": 0, "n02": 1, "n03": 2}}
        assert found(labels=list(ANIMALS), beside=beside)[0] == ANIMALS

    @pytest.mark.parametrize("given", ["labels", "builder"])
    def test_the_checkpoints_names_in_another_order_are_refused(self, given: str) -> None:
        beside = {"class_to_idx": {"cat": 0, "bee": 1, "ant": 2}}
        where = "mine.json" if given == "labels" else "the list of labels"
        with pytest.raises(
            UsageError,
            match=rf"^{where} has the names of class_to_idx in mine.pth in another order: class 0 is 'ant', or 'cat'$",
        ):
            found(ANIMALS, beside=beside, **({"labels": ANIMALS} if given == "labels" else {"builder": "x:y"}))

    def test_a_wrong_number_is_named_with_how_it_was_read(self) -> None:
        with pytest.raises(UsageError, match=r"^mine.json, read as a list, holds 2 labels, the model has 3 classes"):
            found(labels=["ant", "bee"])


def test_without_any_those_of_the_weights() -> None:
    assert labels_for(ModelRequest(model="x"), ANIMALS, 3, "softmax") == (ANIMALS, ())
    numbers = ("class 0", "class 1", "class 2")
    assert labels_for(ModelRequest(model="x", weights="none", num_classes=3), ("tench",), 3, "softmax") == (numbers, ())
