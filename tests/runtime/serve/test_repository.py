"""Which files a server finds: single ones, folders of them, and versions as in Triton's model repository."""

from pathlib import Path

import pytest

from torchless.serve.repository import Found, ModelFile, Policy, find_models


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Versions of a model, what is none of them, and a file beside."""
    for name in ("net/1/model.onnx", "net/9/any name.onnx", "net/10/m.onnx", "net/013/m.onnx", "net/new/m.onnx",
                 "net/11/.m.onnx", "net/config.pbtxt", "net/12/model.onnx/m.onnx", "lone.onnx", ".part/1/m.onnx",
                 "net/docs/readme.txt", "images/3/cat.png", "2024/1/m.onnx", "notes.txt"):  # fmt: skip
        path = tmp_path / "models" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return tmp_path / "models"


def names(found: Found) -> list[str]:
    return [str(key) for key in found.files]


@pytest.mark.parametrize(("policy", "net"), [("latest", ["net/12"]), ("all", ["net/12", "net/10", "net/9", "net/1"])])
def test_versions_are_ordered_as_numbers(models: Path, policy: Policy, net: list[str]) -> None:
    found = find_models([models], policy)
    assert names(found) == ["lone/1", "2024/1", *net]
    assert found.problems == {}
    assert [sentence.split(" is passed over: ")[0] for sentence in found.passed_over] == [
        str(models / "net" / name) for name in ("013", "11", "new")
    ]
    assert names(find_models([models / "net"], policy)) == net
    assert found.files[found.of("2024").popitem()[0]] == ModelFile(models / "2024/1/m.onnx", is_version=True)


@pytest.mark.parametrize(
    ("added", "name", "says"),
    [
        ("net/12/b.onnx", "net", "/net/12 has b.onnx and model.onnx; a version is one .onnx file"),
        ("net/m.onnx", "net", "m.onnx lies beside versions; put it into a folder of its own, such as"),
        ("net.onnx", "net", "would both be called 'net'; rename one"),
        ("net_image/1/m.onnx", "net_image", "cannot be served with 'net', which uses that name for images"),
    ],
)
def test_what_is_ambiguous_is_said_and_holds_up_no_other_model(models: Path, added: str, name: str, says: str) -> None:
    (models / added).parent.mkdir(parents=True, exist_ok=True)
    (models / added).touch()
    found = find_models([models], "latest")
    assert says in found.problems[name]
    assert found.of(name) == {}
    assert {"lone/1", "2024/1"} <= {*names(found)}


def test_two_files_in_an_older_version_that_is_not_served(models: Path) -> None:
    (models / "net/9/b.onnx").touch()
    assert find_models([models], "latest").problems == {}
    assert "/net/9 has any name.onnx and b.onnx" in find_models([models], "all").problems["net"]


def test_folders_without_models(tmp_path: Path) -> None:
    (tmp_path / "net/1").mkdir(parents=True)
    found = find_models([tmp_path], "latest")
    assert found.problems[str(tmp_path)].startswith(f"there is no .onnx file in {tmp_path}, and no folder NAME/1")
    assert found.passed_over[0].startswith(f"{tmp_path / 'net/1'} is passed over")
    gone = tmp_path / "gone"
    assert find_models([gone], "latest", folders=[gone]).problems[str(gone)].startswith(f"cannot read {gone}: No such")


def test_the_state_of_a_model_is_that_of_all_its_files(tmp_path: Path) -> None:
    """Of a version all that lies in its folder, of a lone file what is named after it and what it names."""
    for name in ("a.onnx", "a.onnx.data", "a.onnx.sig", "weights", "b.onnx", ".a.onnx.part"):
        (tmp_path / name).touch()
    path = tmp_path / "a.onnx"
    assert [*ModelFile(path).state(["weights", "none"])] == ["a.onnx", "a.onnx.data", "a.onnx.sig", "weights"]
    assert [*ModelFile(path, is_version=True).state()] == ["a.onnx", "a.onnx.data", "a.onnx.sig", "b.onnx", "weights"]
    before = ModelFile(path).state()
    (tmp_path / "a.onnx.data").write_bytes(b"1")
    assert ModelFile(path).state() != before
