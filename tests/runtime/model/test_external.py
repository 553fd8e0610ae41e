"""Weights in other files: only those beside the model are read, with whichever ONNX Runtime."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests import onnx_model
from tests.onnx_model import FunctionProto, GraphProto, SparseTensorProto, TensorProto, node

from torchless.engine.classifier import Classifier
from torchless.errors import ArtifactDamagedError, ExternalDataError
from torchless.model.artifact import sha256_of
from torchless.model.external import check_external_data
from torchless.model.onnxfile import read_onnx

Changed = Callable[..., Path]


def from_file(location: str, tensor: TensorProto) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)


def weight(model: onnx_model.ModelProto) -> TensorProto:
    return next(weight for weight in model.graph.initializer if weight.raw_data)


def places(model: onnx_model.ModelProto, location: str) -> dict[str, Callable[[], None]]:
    """Where in a model a tensor can be."""
    tensor = onnx_model.tensor("w", [0])
    from_file(location, tensor)
    constant = node("Constant", [], ["unused"], value=tensor)
    branch = GraphProto(name="branch", node=[constant])
    sparse = SparseTensorProto(values=tensor, indices=onnx_model.tensor("i", [0], "int64"), dims=[1])
    return {
        "initializer": lambda: from_file(location, weight(model)),
        "attribute": lambda: model.graph.node.insert(0, constant),
        "subgraph": lambda: model.graph.node.insert(
            0, node("If", ["c"], ["x"], then_branch=branch, else_branch=branch)
        ),
        "function": lambda: model.functions.append(
            FunctionProto(domain="l", name="F", output=["unused"], node=[constant])
        ),
        "sparse": lambda: model.graph.sparse_initializer.append(sparse),
    }


@pytest.mark.parametrize("place", ["initializer", "attribute", "subgraph", "function", "sparse"])
def test_a_file_elsewhere_is_refused_wherever_the_model_names_it(changed: Changed, tmp_path: Path, place: str) -> None:
    secret = tmp_path.parent / "secret.bin"
    secret.write_bytes(bytes(100_000))
    path = changed(lambda model: places(model, "../secret.bin")[place]())
    with pytest.raises(
        ExternalDataError,
        match=r"changed.onnx wants its weights from '../secret.bin', which is not a file in its folder",
    ) as caught:
        Classifier(path, device="cpu")
    assert caught.value.exit_code == 3


@pytest.mark.parametrize(
    "location", ["/etc/passwd", "link.bin", "folder/../../secret.bin", "", ".", "a\0b", "out/secret.bin"]
)
def test_what_is_refused(changed: Changed, tmp_path: Path, location: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path.parent / "secret.bin").write_bytes(bytes(100_000))
    (tmp_path / "link.bin").symlink_to("../secret.bin")
    (tmp_path / "out").symlink_to("..")
    with pytest.raises(ExternalDataError, match="which is not a file in its folder"):
        Classifier(changed(lambda model: from_file(location, weight(model))), device="cpu")


@pytest.mark.parametrize("location", ["gone.bin", "é" * 300, "folder"])
def test_what_is_not_there(changed: Changed, tmp_path: Path, location: str) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(ExternalDataError, match=f"keeps its weights in {location[:200]}, which is not beside it"):
        Classifier(changed(lambda model: from_file(location, weight(model))), device="cpu")


def test_a_file_beside_it_and_caches_of_links_are_read(
    changed: Changed, tiny: Path, tmp_path: Path, photos: Path
) -> None:
    """As Hugging Face's cache has them: the model and its data are links into a folder of blobs."""

    def move(model: onnx_model.ModelProto) -> None:
        tensor = weight(model)
        (tmp_path / "w.bin").write_bytes(tensor.raw_data)
        from_file("w.bin", tensor)

    path, image = changed(move), photos / "coffee.png"
    wanted = Classifier(tiny, device="cpu").classify(image)
    assert Classifier(path, device="cpu").classify(image).predictions == wanted.predictions
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    for name in ("changed.onnx", "w.bin"):
        (snapshot / name).symlink_to(tmp_path / name)
    check_external_data(read_onnx(snapshot / "changed.onnx"))
    assert sha256_of(snapshot / "w.bin") == sha256_of(tmp_path / "w.bin")


def test_graphs_in_graphs_without_end(tmp_path: Path) -> None:
    """Deeper than protobuf itself would write it."""
    body = b"\x52\x08location"  # GraphProto.doc_string: no graph is looked into that does not hold this word
    for _ in range(150):  # GraphProto.node, NodeProto.attribute, AttributeProto.g
        for number in (6, 5, 1):
            length, tag = len(body), bytes([number << 3 | 2])
            varint = b""
            while length > 0x7F:
                varint, length = varint + bytes([length & 0x7F | 0x80]), length >> 7
            body = tag + varint + bytes([length]) + body
    (tmp_path / "deep.onnx").write_bytes(
        b"\x3a" + bytes([len(body) & 0x7F | 0x80, len(body) >> 7 & 0x7F | 0x80, len(body) >> 14]) + body
    )
    with pytest.raises(ArtifactDamagedError, match="nested more than 100 deep"):
        read_onnx(tmp_path / "deep.onnx")
