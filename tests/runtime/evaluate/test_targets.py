import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchless.errors import UsageError
from torchless.evaluate.targets import Targets

PETS = ("cat", "dog", "golden retriever")
IMAGENET = tuple(f"label {number}" for number in range(1000))
# As many lists of ImageNet's labels have it, and older versions of torchvision had: the bird and the machine, and two
# sorts of swimwear, by one name.
AMBIGUOUS = tuple(
    {134: "crane", 517: "crane", 638: "maillot", 639: "maillot"}.get(number, label)
    for number, label in enumerate(IMAGENET)
)
WORDNET = tuple(f"n{number * 7919 % 100_000_000:08}" for number in range(1000))


def names(*given: str) -> dict[str, str]:
    return dict.fromkeys(given, "")


@given(st.lists(st.text(), min_size=1, unique=True), st.data())
def test_labels_are_found_whatever_they_are(labels: list[str], data: st.DataObject) -> None:
    """Where labels are whole numbers too, either both readings agree, or there is an error."""
    asked = data.draw(st.lists(st.sampled_from(labels), unique=True))
    try:
        assert Targets(tuple(labels)).of_names(names(*asked)) == {name: labels.index(name) for name in asked}
    except UsageError as error:
        assert "and indices of other classes" in str(error)
        assert all(int(name) < len(labels) for name in asked)


@pytest.mark.parametrize("wanted", [{"2": 2, "0": 0}, {"02": 2, "+1": 1}])
def test_whole_numbers_are_indices(wanted: dict[str, int]) -> None:
    assert Targets(PETS).of_names(names(*wanted)) == wanted


def test_numbers_that_are_labels() -> None:
    digits = Targets(tuple("0123456789"))
    assert digits.of_names(names("7", "3")) == {"7": 7, "3": 3}
    from_one = Targets(tuple(map(str, range(1, 11))))
    assert from_one.of_names(names("10", "1")) == {"10": 9, "1": 0}
    assert from_one.of_names(names("0", "1")) == {"0": 0, "1": 1}
    with pytest.raises(UsageError, match="'1', '2': labels of the model, and indices of other classes"):
        from_one.of_names(names("1", "2"))


@pytest.mark.parametrize(("label", "first", "second"), [("crane", 134, 517), ("maillot", 638, 639)])
def test_a_label_of_two_classes_is_refused(label: str, first: int, second: int) -> None:
    with pytest.raises(
        UsageError, match=rf"'{label}' \(line 3\) is the label of classes {first} and {second}: use indices"
    ):
        Targets(AMBIGUOUS).of_names({"label 0": " (line 2)", label: " (line 3)"})


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            ["cat", "golden_retriever"],
            "1 of 2 class names are not labels of the model: 'golden_retriever' (did you mean 'golden retriever'?)",
        ),
        (["zebra"], "not labels of the model: 'zebra'; the model's labels are 'cat', 'dog', 'golden retriever'"),
        (["a1", "b2", "c3", "d4"], "'a1', 'b2', 'c3', …"),
        (["0", "3"], "there is no class 3: the model has 3 classes, 0 to 2"),
        (["-1"], "there is no class -1"),
        (["0", "cat"], "1 of 2 class names are not labels of the model: '0'"),
        (["train", "val"], "the folders are 'train', 'val': name the one to evaluate"),
        (["9" * 5000], "not labels of the model"),
    ],
)
def test_names_of_no_class(given: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        Targets(PETS).of_folders(given)
    assert message in str(raised.value)


def test_all_wordnet_ids_sorted_are_the_indices() -> None:
    found = Targets(IMAGENET).of_folders(reversed(WORDNET))
    assert [found[name] for name in sorted(WORDNET)] == list(range(1000))


def test_wordnet_ids_that_are_the_labels() -> None:
    assert Targets(WORDNET).of_folders(WORDNET[:2]) == {WORDNET[0]: 0, WORDNET[1]: 1}


@pytest.mark.parametrize(
    ("labels", "folders", "message"),
    [
        (IMAGENET, WORDNET[:10], "10 of the 1,000 folders with WordNet ids do not determine their indices"),
        (PETS, WORDNET, "1,000 folders with WordNet ids, one for each ImageNet class, but the model has 3 classes"),
    ],
)
def test_wordnet_ids_that_do_not_tell(labels: tuple[str, ...], folders: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Targets(labels).of_folders(folders)


def test_class_maps(tmp_path: Path) -> None:
    (tmp_path / "map.json").write_text(json.dumps({"n02123045": "cat", "hund": 1, "retriever": 2, "kitten": "cat"}))
    targets = Targets(PETS, tmp_path / "map.json")
    assert targets.of_folders(["n02123045", "hund", "retriever", "kitten"]) == {
        "n02123045": 0,
        "hund": 1,
        "retriever": 2,
        "kitten": 0,
    }
    (tmp_path / "map.txt").write_text("n02123045\nn02084071\n")
    assert Targets(PETS, tmp_path / "map.txt").of_folders(["n02084071"]) == {"n02084071": 1}
    with pytest.raises(UsageError, match=r"1 of 2 class names are not in .*map.txt: 'cat' \(line 9\)"):
        Targets(PETS, tmp_path / "map.txt").of_names({"n02084071": "", "cat": " (line 9)"})
    (tmp_path / "crane.json").write_text('{"the bird": 134, "the machine": 517}')
    assert Targets(AMBIGUOUS, tmp_path / "crane.json").of_folders(["the bird"]) == {"the bird": 134}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("map.json", "{", "class map .*map.json: "),
        ("map.json", "[1]", "expected one JSON object"),
        ("map.json", '{"a": 1.5}', "expected one JSON object"),
        ("map.json", '{"a": true}', "expected one JSON object"),
        ("map.json", '{"a": 3}', "class map .*map.json: there is no class 3"),
        ("map.json", '{"a": "zebra"}', "class map .*map.json: 1 of 1 class names are not labels"),
        ("map.txt", "a\nb\na", "class map .*map.txt: 'a' occurs twice"),
        ("map.txt", "a\nb\nc\nd", "class map .*map.txt: there is no class 3"),
        ("none.txt", None, "none.txt: No such file"),
        ("none.json", None, "class map .*none.json: "),
    ],
)
def test_class_maps_that_make_no_sense(tmp_path: Path, name: str, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        Targets(PETS, tmp_path / name)
