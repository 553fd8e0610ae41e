import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchless.engine.results import Result
from torchless.errors import UsageError
from torchless.evaluate.dataset import Dataset, Example, read_dataset

PETS = ("cat", "dog", "golden retriever")


@pytest.fixture
def tree(tmp_path: Path) -> Callable[..., Path]:
    """A function that makes empty files: names and classes alone are read."""

    def make(*paths: str) -> Path:
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        return tmp_path

    return make


def read(data: Path, **options: object) -> list[tuple[str, int]]:
    return [
        (Path(item.name).relative_to(data if data.is_dir() else data.parent).as_posix(), item.target)
        for item in dataset(data, **options)
    ]


def dataset(data: Path, labels: tuple[str, ...] = PETS, **options: object) -> Dataset:
    return read_dataset(data, labels=labels, **options)


def test_class_folders(tree: Callable[..., Path]) -> None:
    root = tree(
        "dog/b.png",
        "dog/a.JPG",
        "dog/deep/c.webp",
        "dog/.hidden.png",
        "cat/1.png",
        "cat/notes.txt",
        ".git/x.png",
        "readme.txt",
    )
    assert read(root) == [("cat/1.png", 0), ("dog/a.JPG", 1), ("dog/b.png", 1), ("dog/deep/c.webp", 1)]
    assert dataset(root).passed_over.lines() == ["1 file is no image: .txt 1", "1 hidden image was left out"]


def test_strict_makes_what_is_no_image_an_example_with_an_error(tree: Callable[..., Path]) -> None:
    root = tree("cat/1.png", "cat/notes.txt")
    found = dataset(root, strict=True)
    assert [(item.image is None, item.error) for item in found.inputs()] == [
        (False, None),
        (True, "not an image: its name ends in .txt"),
    ]


def test_a_class_folder_may_be_a_link(tree: Callable[..., Path], tmp_path: Path) -> None:
    root = tree("elsewhere/x.png", "data/cat/1.png") / "data"
    (root / "dog").symlink_to(tmp_path / "elsewhere")
    assert read(root) == [("cat/1.png", 0), ("dog/x.png", 1)]


def test_a_tree_of_imagenets_form(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"n{99_999_999 - number}").mkdir()
    (tmp_path / "n99999000" / "ILSVRC2012_val_1.JPEG").touch()
    (tmp_path / "n99999998" / "ILSVRC2012_val_2.jpeg").touch()
    labels = tuple(f"class {number % 999}" for number in range(1000))
    assert read(tmp_path, labels=labels) == [
        ("n99999000/ILSVRC2012_val_1.JPEG", 0),
        ("n99999998/ILSVRC2012_val_2.jpeg", 998),
    ]


def test_a_class_map_names_folders_and_labels(tree: Callable[..., Path], tmp_path: Path) -> None:
    root = tree("data/chat/1.png", "data/chien/2.png") / "data"
    (tmp_path / "map.json").write_text('{"chat": "cat", "chien": 1}')
    assert read(root, class_map=tmp_path / "map.json") == [("chat/1.png", 0), ("chien/2.png", 1)]
    (tmp_path / "list.csv").write_text("image,label\nx.png,chien\n")
    assert read(tmp_path / "list.csv", class_map=tmp_path / "map.json") == [("x.png", 1)]


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ([], "it has no subfolders"),
        (["1.png"], "it has no subfolders"),
        (["cat/1.png", "2.png"], "images outside the class folders have no class: 2.png"),
        (["cat/notes.txt"], "holds no labelled image; 1 file is no image: .txt 1"),
        (["cat/1.png", "zebra/2.png"], "'zebra'; the model's labels are"),
        (["train/cat/1.png", "val/cat/1.png"], "name the one to evaluate"),
    ],
)
def test_trees_that_do_not_tell(tree: Callable[..., Path], paths: list[str], message: str) -> None:
    root = tree(*paths)
    with pytest.raises(UsageError) as raised:
        dataset(root)
    assert str(raised.value).startswith(str(root))
    assert message in str(raised.value)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1).map(str.strip).filter(bool)
ROWS = st.lists(
    st.tuples(CELLS.filter(lambda text: "://" not in text), st.sampled_from(PETS)),
    min_size=1,
    unique_by=lambda row: row[0],
)


@given(rows=ROWS)
def test_what_csv_and_json_lines_say_is_read(
    rows: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("lists")
    table = io.StringIO()
    csv.writer(table).writerows([("image", "label"), *rows])
    (folder / "list.csv").write_text(table.getvalue(), encoding="utf-8", newline="")
    (folder / "list.jsonl").write_text(
        "".join(json.dumps({"image": image, "label": label}) + "\n" for image, label in rows)
    )
    wanted = [
        Example(image if image.startswith("/") else f"{folder}/{image}", PETS.index(label)) for image, label in rows
    ]
    assert list(dataset(folder / "list.csv")) == list(dataset(folder / "list.jsonl")) == wanted


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "image,index\nx.png,2\n"),
        ("a.csv", "\ufeff Image , LABEL\r\n\r\nx.png, golden retriever\r\n"),
        ("a.csv", "id,label,index,image\n7,anything,2,x.png\n"),
        ("a.csv", "image,label\nx.png,2\n"),
        ("a.jsonl", '\n{"image": "x.png", "label": 2}\n'),
        ("a.jsonl", '{"image": "x.png", "label": "golden retriever", "more": []}'),
        ("a.ndjson", '{"image": "x.png", "label": "cat", "index": 2}'),
    ],
)
def test_forms_of_lists(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    assert read(tmp_path / name) == [("x.png", 2)]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "", "the first line must name the columns: image, and label or index; it has none"),
        ("a.csv", "x.png,cat\n", "the first line must name the columns: image, and label or index; it has x.png, cat"),
        ("a.csv", "image,label\n", "holds no labelled image"),
        ("a.csv", "image,label\nx.png\n", "line 2: 1 cells for 2 columns"),
        ("a.csv", "image,label\n,cat\n", "line 2: there is no image"),
        ("a.csv", "image,label\nx.png,\n", "line 2: there is neither label nor index"),
        ("a.csv", "image,index\nx.png,two\n", "line 2: there is no class: 'two'"),
        ("a.csv", "image,index\nx.png,3\n", "line 2: there is no class 3: the model has 3 classes, 0 to 2"),
        ("a.csv", "image,label\nw.png,cat\nx.png,lion\n", "'lion' (line 3)"),
        ("a.csv", "image,label\nx.png,cat\ny.png,cat\nx.png,dog\n", "line 4: x.png is already in line 2"),
        ("a.csv", 'image,label\n"x.png,cat\n', "line 2: unexpected end of data"),
        ("a.csv", b"image,label\n\xff.png,cat\n", "it is not UTF-8 text: invalid start byte"),
        ("a.jsonl", '{"image": "x.png"\n', "line 1: not JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("a.jsonl", "7\n", "line 1: expected one object per line"),
        ("a.jsonl", '{"label": "cat"}\n', "line 1: there is no image"),
        ("a.jsonl", '{"image": "x.png", "label": true}\n', "line 1: there is no class: True"),
        ("a.jsonl", '{"image": "x.png", "label": 1.0}\n', "line 1: there is no class: 1.0"),
        ("a.jsonl", '{"image": "x.png", "index": -1}\n', "line 1: there is no class -1"),
        ("a.zip", "", "give a folder of class folders, or a list with the suffix .csv or .jsonl"),
    ],
)
def test_lists_that_make_no_sense(tmp_path: Path, name: str, text: str | bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UsageError) as raised:
        dataset(path)
    assert str(raised.value).startswith(str(path))
    assert message in str(raised.value)


@pytest.mark.parametrize("name", ["nowhere", "nowhere.csv"])
def test_data_that_is_not_there(name: str) -> None:
    with pytest.raises(UsageError, match=f"cannot read {name}: No such file or directory"):
        dataset(Path(name))


def test_images_may_be_elsewhere(tmp_path: Path) -> None:
    """A URL stays one; an absolute path too."""
    (tmp_path / "a.csv").write_text("image,index\nfile:///x/y.png,0\n/x/z.png,1\nzip://::none.zip,2\n")
    data = dataset(tmp_path / "a.csv")
    assert [item.name for item in data] == ["file:///x/y.png", "/x/z.png", "zip://::none.zip"]
    first, second, third = data.inputs()
    assert callable(first.image)
    assert second.image == "/x/z.png"
    assert (third.name, third.error) == ("zip://::none.zip", "cannot read zip://::none.zip: No such file or directory")


MANY = Dataset("x", PETS, tuple(Example(f"{number}.png", number % 3) for number in range(100)))


@given(st.integers(1, 120), st.integers(1, 120))
def test_a_sample_is_a_part_of_a_larger_one_in_its_order(limit: int, larger: int) -> None:
    limit, larger = sorted((limit, larger))
    taken = MANY.sample(limit).examples
    assert len(taken) == min(limit, 100)
    assert set(taken) <= set(MANY.sample(larger).examples)
    assert sorted(taken, key=MANY.examples.index) == list(taken)


def test_a_sample_is_random_and_everywhere_the_same() -> None:
    assert [item.name for item in MANY.sample(5)] == ["35.png", "40.png", "52.png", "75.png", "97.png"]
    assert MANY.sample(5, seed=1) != MANY.sample(5)
    assert MANY.sample(None) is MANY
    with pytest.raises(UsageError, match="`limit` must be at least 1, got 0"):
        MANY.sample(0)


def test_rows_get_their_class_and_others_none() -> None:
    rows = list(MANY.labelled([Result("4.png"), Result("other.png"), Result(None), Result("2.png", error="x")]))
    assert [(row.image, row.target_index, row.target_label, row.error) for row in rows] == [
        ("4.png", 1, "dog", None),
        ("2.png", 2, "golden retriever", "x"),
    ]
