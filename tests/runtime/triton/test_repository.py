"""Model repositories for Triton, read with Triton's own message and run with ONNX Runtime; KServe's manifest against
KServe's schema.
"""

import json
from collections.abc import Callable
from pathlib import Path

import jsonschema
import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format
from tests import onnx_model
from tests.onnx_model import node, tensor, value
from tritonclient.grpc import model_config_pb2
from tritonclient.utils import np_to_triton_dtype, triton_to_np_dtype

from torchless.errors import ArtifactError, ExternalDataError
from torchless.model.artifact import Artifact, read_artifact, sha256_of
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import read_onnx
from torchless.triton.config import config_text
from torchless.triton.interface import read_interface
from torchless.triton.options import TritonOptions

SCHEMA = json.loads(Path(__file__).with_name("kserve_schema.json").read_text())
CommandLine = Callable[..., tuple[int, str, str]]


def config_of(model: Path) -> model_config_pb2.ModelConfig:
    return text_format.Parse((model / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())


def write_model(
    tiny: Path, path: Path, source: onnx_model.ValueInfoProto, axis: int, target_shape: list[int | str]
) -> Path:
    """A classifier of five classes that is not torchless's usual kind: it sums its input over all axes but `axis`."""
    keep = [number for number in range(len(source.type.tensor_type.shape.dim)) if number != axis]
    model = onnx_model.model(
        [
            node("Cast", [source.name], ["x"], to=onnx_model.TensorProto.FLOAT),
            node("ReduceSum", ["x", "axes"], ["sum"], keepdims=0),
            node("Reshape", ["sum", "column"], ["column_sum"]),
            node("Mul", ["column_sum", "weights"], ["scores"]),
        ],
        [source],
        [value("scores", target_shape)],
        [tensor("axes", keep, "int64"), tensor("column", [-1, 1], "int64"), tensor("weights", [[1, 2, 3, 4, 5]])],
    )
    onnx_model.set_metadata(model, {Manifest.KEY: read_artifact(tiny).manifest.to_json()})
    onnx_model.save(model, path)
    return path


def check_against_the_model(home: Path) -> model_config_pb2.ModelConfig:
    """The configuration is Triton's, and what it says of the model is so: each warm-up request runs, and gives what it
    says.
    """
    config = config_of(home)
    assert config.name == home.name
    assert config.backend == "onnxruntime"
    session = onnxruntime.InferenceSession(
        home / "1" / config.default_model_filename, providers=["CPUExecutionProvider"]
    )
    [source], [target] = config.input, config.output
    assert [(x.name, x.type) for x in session.get_inputs()] == [(source.name, session.get_inputs()[0].type)]
    assert len(config.model_warmup) >= 1
    for request in config.model_warmup:
        assert request.batch_size <= config.max_batch_size
        [(name, given)] = request.inputs.items()
        assert (name, given.data_type, len(given.dims)) == (source.name, source.data_type, len(source.dims))
        assert all(wanted in (-1, got) for wanted, got in zip(source.dims, given.dims, strict=True))
        dtype = triton_to_np_dtype(model_config_pb2.DataType.Name(source.data_type).removeprefix("TYPE_"))
        shape = (*([request.batch_size] if config.max_batch_size else []), *given.dims)
        [answer] = session.run([target.name], {name: np.ones(shape, dtype)})
        assert model_config_pb2.DataType.Name(target.data_type) == f"TYPE_{np_to_triton_dtype(answer.dtype)}"
        assert answer.shape == (*([request.batch_size] if config.max_batch_size else []), *target.dims)
    return config


def test_a_model_and_its_next_version(tiny: Path, pair: Path, tmp_path: Path, command_line: CommandLine) -> None:
    repo = tmp_path / "repo"
    assert command_line("torchless", "repository", tiny, repo) == (0, "", f"{repo}/tiny/1  batches up to 8\n")
    config = check_against_the_model(repo / "tiny")
    assert config.max_batch_size == 8
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.dynamic_batching.max_queue_delay_microseconds == 1000
    assert [(group.count, group.kind) for group in config.instance_group] == [
        (1, model_config_pb2.ModelInstanceGroup.KIND_AUTO)
    ]
    assert list(config.input[0].dims) == [3, 32, 32]
    assert list(config.output[0].dims) == [5]
    assert (repo / "tiny" / config.output[0].label_filename).read_text().splitlines() == [
        "zero",
        "one",
        "two",
        "three",
        "four",
    ]
    assert [request.batch_size for request in config.model_warmup] == list(range(1, 9))
    assert sha256_of(repo / "tiny" / "1" / "model.onnx") == sha256_of(tiny)

    options = ("--max-batch-size", 1, "--instances", 3, "--device", "cpu", "--threads", 2, "--delay-us", 0)
    assert (
        command_line("torchless", "repository", tiny, repo, *options)[2]
        == f"{repo}/tiny/1  unchanged, batches up to 1\n"
    )
    config = check_against_the_model(repo / "tiny")
    assert (config.max_batch_size, list(config.dynamic_batching.preferred_batch_size)) == (1, [1])
    assert [(group.count, group.kind) for group in config.instance_group] == [
        (3, model_config_pb2.ModelInstanceGroup.KIND_CPU)
    ]
    assert config.parameters["intra_op_thread_count"].string_value == "2"

    assert command_line("torchless", "repository", pair, repo)[2] == f"{repo}/tiny/2  batches up to 8\n"
    assert sorted(path.name for path in (repo / "tiny" / "2").iterdir()) == ["model.onnx", "tiny.onnx.data"]
    onnxruntime.InferenceSession(repo / "tiny" / "2" / "model.onnx", providers=["CPUExecutionProvider"])
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_a_model_with_its_preprocessing_inside(tiny: Path, tmp_path: Path, command_line: CommandLine) -> None:
    """uint8 images of any size, with a batch axis and without one."""
    one = value("image", ["height", "width", 3], "uint8")
    many = value("images", ["batch", "height", "width", 3], "uint8")
    models = [
        write_model(tiny, tmp_path / "one.onnx", one, -1, [1, 5]),
        write_model(tiny, tmp_path / "many.onnx", many, 0, ["batch", 5]),
    ]
    code, _, err = command_line("torchless", "repository", *models, tmp_path / "repo")
    assert code == 0, err
    assert "one at a time" not in err.splitlines()[1]
    assert "one image at a time: the graph has no batch axis" in err.splitlines()[0]
    single, batched = (
        check_against_the_model(tmp_path / "repo" / "one"),
        check_against_the_model(tmp_path / "repo" / "many"),
    )
    assert (single.max_batch_size, list(single.input[0].dims), list(single.output[0].dims)) == (0, [-1, -1, 3], [1, 5])
    assert not single.HasField("dynamic_batching")
    assert (batched.max_batch_size, list(batched.input[0].dims), list(batched.output[0].dims)) == (8, [-1, -1, 3], [5])
    assert {model_config_pb2.DataType.Name(config.input[0].data_type) for config in (single, batched)} == {"TYPE_UINT8"}
    assert list(single.model_warmup[0].inputs["image"].dims) == [32, 32, 3]


def test_names_are_quoted(tiny: Path) -> None:
    interface = read_interface(tiny)
    config = text_format.Parse(config_text('a"\\\n“é”', interface, TritonOptions()), model_config_pb2.ModelConfig())
    assert config.name == 'a"\\\n“é”'


def test_what_will_not_do_leaves_nothing(tiny: Path, tmp_path: Path, command_line: CommandLine) -> None:
    repo, other = tmp_path / "repo", tmp_path / "other" / "tiny.onnx"
    other.parent.mkdir()
    strange = tmp_path / "a b.onnx"
    for path in (other, strange):
        path.write_bytes(tiny.read_bytes())
    for arguments, code, message in (
        ([tiny, other, repo], 2, "two models would be called 'tiny'; rename one"),
        ([strange, repo], 2, "'a b' is not a valid model name"),
        ([tmp_path / "no.onnx", repo], 3, "there is no file"),
        ([repo], 2, "name at least one model"),
        ([tiny, repo, "--kserve", "bucket"], 2, "--kserve takes the address that the repository is copied to"),
        ([tiny, other], 2, f"cannot write {other}"),
    ):
        found, printed, err = command_line("torchless", "repository", *arguments)
        assert (found, printed) == (code, "")
        assert message in err
        assert not repo.exists()
    boolean = write_model(tiny, tmp_path / "b.onnx", value("mask", ["batch", 3, 32, 32], "bool"), 0, ["batch", 5])
    with pytest.raises(ArtifactError, match="Triton has no type for mask, which is tensor\\(bool\\)"):
        read_interface(boolean)


@pytest.mark.parametrize("device", ["auto", "cpu", "cuda"])
def test_kserve_takes_the_manifest(tiny: Path, tmp_path: Path, command_line: CommandLine, device: str) -> None:
    arguments = (tiny, tmp_path / "My_Models", "--kserve", "s3://bucket/My_Models", "--device", device)
    code, printed, _ = command_line("torchless", "repository", *arguments)
    assert code == 0
    manifest = json.loads(printed)
    jsonschema.validate(manifest, SCHEMA)
    model = manifest["spec"]["predictor"]["model"]
    assert (manifest["metadata"]["name"], model["storageUri"]) == ("my-models", "s3://bucket/My_Models")
    assert ("nvidia.com/gpu" in model["resources"]["limits"]) == (device == "cuda")
    for broken in ({"storageURI": "s3://x"}, {"storageUri": 3}, {"modelFormat": {"nam": "onnx"}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(manifest | {"spec": {"predictor": {"model": model | broken}}}, SCHEMA)


def test_a_model_whose_weights_lie_elsewhere(pair: Path) -> None:
    """Their place could be anywhere, also above the repository; only what lies beside the model is copied."""
    for location in ("weights/tiny.onnx.data", "../tiny.onnx.data"):
        model = onnx_model.load(pair)
        onnx_model.move_data(model, location)
        changed = pair.with_name("changed.onnx")
        onnx_model.save(model, changed)
        with pytest.raises(ExternalDataError, match=f"keeps its weights in {location}, which is not in its own folder"):
            Artifact(read_onnx(changed), read_artifact(pair).manifest).files  # noqa: B018
