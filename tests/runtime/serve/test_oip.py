"""The Open Inference Protocol: the protocol's own examples and errors over HTTP, and its encoding by properties."""

import base64
import json
import struct
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tests.data import LABELS
from tests.runtime.serve.conftest import IMAGES, TENSORS, Running

from torchless import Classifier
from torchless.serve.errors import RequestError
from torchless.serve.oip.parse import encode_response, parse_request
from torchless.serve.oip.tensors import Interface

ZEROS = [0.0] * 12


def tensor(**changes: Any) -> dict[str, Any]:
    return {"name": "input", "shape": [1, 3, 2, 2], "datatype": "FP32", "data": ZEROS} | changes


def parsed(document: Any, tail: bytes = b"", interface: Interface = TENSORS) -> Any:
    text = json.dumps(document).encode()
    return parse_request(text + tail, len(text) if tail else None, interface)


@pytest.fixture(scope="module")
def batch(tiny: Path, photos: Path) -> np.ndarray:
    classifier = Classifier(tiny, device="cpu")
    return np.stack([classifier.preprocess(photos / name) for name in ("coffee.png", "rocket.jpg")])


@pytest.fixture(scope="module")
def logits(tiny: Path, batch: np.ndarray) -> np.ndarray:
    return Classifier(tiny, device="cpu").run(batch)


def test_server_health_and_metadata(served: Running) -> None:
    """The requests of the protocol's document (inference_rest.md), in its order."""
    get = served.client.get
    assert (get("/v2/health/live").json(), get("/v2/health/ready").json()) == ({"live": True}, {"ready": True})
    assert get("/v2").json()["name"] == "torchless"
    assert set(get("/v2").json()["extensions"]) == {
        "binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"
    }  # fmt: skip
    for path in ("/v2/models/tiny", "/v2/models/tiny/versions/1"):
        assert get(f"{path}/ready").json() == {"name": "tiny", "ready": True}
        assert get(path).json() == {
            "name": "tiny",
            "versions": ["1"],
            "platform": "onnxruntime_onnx",
            "inputs": [{"name": "input", "datatype": "FP32", "shape": [-1, 3, 32, 32]}],
            "outputs": [{"name": "logits", "datatype": "FP32", "shape": [-1, 5]}],
        }
    assert get("/v2/models/tiny_image").json()["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]


@pytest.mark.parametrize(
    "path",
    ["/v2/models/none", "/v2/models/none/ready", "/v2/models/tiny/versions/2", "/v2/models/x_image", "/v2/nowhere"],
)
def test_what_is_not_there(served: Running, path: str) -> None:
    answer = served.client.get(path)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


def test_infer_in_json(served: Running, batch: np.ndarray, logits: np.ndarray) -> None:
    for data in (batch.tolist(), batch.ravel().tolist()):
        request = {"id": "42", "inputs": [{"name": "input", "shape": [2, 3, 32, 32], "datatype": "FP32", "data": data}]}
        answer = served.post("/v2/models/tiny/infer", json=request)
        assert answer.headers["content-type"] == "application/json"
        assert {k: v for k, v in answer.json().items() if k != "outputs"} == {
            "model_name": "tiny",
            "model_version": "1",
            "id": "42",
        }
        (output,) = answer.json()["outputs"]
        assert (output["name"], output["datatype"], output["shape"]) == ("logits", "FP32", [2, 5])
        assert output["data"] == pytest.approx(logits.ravel().tolist(), rel=1e-4)


def test_null_is_as_if_it_were_not_there(served: Running, batch: np.ndarray, logits: np.ndarray) -> None:
    """So do Java's and Go's clients write what was not given, and KServe's `InferRequest.to_dict`."""
    about = {"name": "input", "shape": [2, 3, 32, 32], "datatype": "FP32", "parameters": None}
    request = {"id": None, "inputs": [about | {"data": batch.tolist()}], "outputs": None, "parameters": None}
    answer = served.post("/v2/models/tiny/infer", json=request).json()
    assert answer["outputs"][0]["data"] == pytest.approx(logits.ravel().tolist(), rel=1e-4)
    outputs = [{"name": "logits", "parameters": {"classification": None, "binary_data": None}}]
    answer = served.post("/v2/models/tiny/infer", json=request | {"outputs": outputs, "parameters": {"timeout": None}})
    assert answer.json()["outputs"][0]["shape"] == [2, 5]


def test_infer_with_images_in_json(served: Running, photos: Path, logits: np.ndarray) -> None:
    data = [base64.b64encode((photos / name).read_bytes()).decode() for name in ("coffee.png", "rocket.jpg")]
    request = {
        "inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": data}],
        "outputs": [{"name": "logits"}],
    }
    answer = served.post("/v2/models/tiny_image/versions/1/infer", json=request).json()
    assert answer["outputs"][0]["data"] == pytest.approx(logits.ravel().tolist(), rel=1e-4)
    assert answer["model_name"] == "tiny_image"


def test_raw_binary_requests_have_no_json_at_all(
    served: Running, photos: Path, batch: np.ndarray, logits: np.ndarray
) -> None:
    for model, body, wanted in (
        ("tiny", batch.tobytes(), logits),
        ("tiny_image", (photos / "coffee.png").read_bytes(), logits[:1]),
    ):
        answer = served.post(
            f"/v2/models/{model}/infer", content=body, headers={"inference-header-content-length": "0"}
        )
        length = int(answer.headers["inference-header-content-length"])
        assert orjson.loads(answer.content[:length])["outputs"][0]["parameters"] == {"binary_data_size": wanted.nbytes}
        assert np.frombuffer(answer.content[length:], "<f4") == pytest.approx(wanted.ravel(), rel=1e-4)


def test_a_broken_image_is_named(served: Running) -> None:
    answer = served.post(
        "/v2/models/tiny_image/infer",
        json={"inputs": [{"name": "image", "shape": [2], "datatype": "BYTES", "data": ["AAAA", "AAAA"]}]},
    )
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("image[0]: not an image of a supported format")


def test_numbers_that_overflow_the_network(served: Running) -> None:
    data = [3e38] * (3 * 32 * 32)
    answer = served.post("/v2/models/tiny/infer", json={"inputs": [tensor(shape=[1, 3, 32, 32], data=data)]})
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": "the model's output for these numbers contains NaN or infinity"},
    )


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "the request: expected a JSON object"),
        ({}, "inputs: expected a list of one tensor, input, got nothing"),
        ({"inputs": [tensor(), tensor()]}, "inputs: expected a list of one"),
        ({"inputs": [1]}, r"inputs\[0\]: expected a JSON object, got 1"),
        ({"inputs": [tensor(name="x")]}, r"inputs\[0\].name: the model m takes 'input', got \"x\""),
        ({"inputs": [tensor(datatype="FP16")]}, r"inputs\[0\].datatype: input is FP32, got \"FP16\""),
        ({"inputs": [tensor(shape=[1, 3, 2])]}, r"inputs\[0\].shape: expected \[-1, 3, 2, 2\]"),
        ({"inputs": [tensor(shape=[0, 3, 2, 2], data=[])]}, r"inputs\[0\].shape"),
        ({"inputs": [tensor(shape=[-1, 3, 2, 2])]}, r"inputs\[0\].shape"),
        ({"inputs": [tensor(shape=[True, 3, 2, 2])]}, r"inputs\[0\].shape"),
        ({"inputs": [tensor(shape=[9, 3, 2, 2], data=ZEROS * 9)]}, "9 images, the server takes at most 8"),
        ({"inputs": [tensor(shape=[10**30, 3, 2, 2])]}, r"not valid JSON|inputs\[0\].shape"),
        ({"inputs": [tensor(data="x")]}, r"inputs\[0\].data: expected a list"),
        ({"inputs": [tensor(data=[0.0] * 11)]}, "has 12 elements, data has 11"),
        ({"inputs": [tensor(data=["1"] * 12)]}, "expected only numbers"),
        ({"inputs": [tensor(data=[None] * 12)]}, "expected only numbers"),
        ({"inputs": [tensor(data=[True] * 12)]}, "expected only numbers"),
        ({"inputs": [tensor(data=[[0.0] * 6, 1.0])]}, "lists and single elements are mixed"),
        ({"inputs": [tensor(data=[1e39] * 12)]}, "NaN or infinity, or a number beyond float32"),
        ({"inputs": [tensor(data=[2**63] * 12, parameters=3)]}, r"inputs\[0\].parameters: expected a JSON object"),
        (
            {"inputs": [{k: v for k, v in tensor().items() if k != "data"}]},
            "neither data nor parameters.binary_data_size",
        ),
        ({"inputs": [tensor(parameters={"shared_memory_region": "x"})]}, "does not support shared memory"),
        ({"inputs": [tensor(parameters={"binary_data_size": 48})]}, "data both in the JSON and in bytes"),
        ({"inputs": [tensor()], "id": 1}, "id: expected text, got 1"),
        ({"inputs": [tensor()], "outputs": 1}, "outputs: expected a list of one"),
        ({"inputs": [tensor()], "outputs": [{"name": "x"}]}, "the model m gives 'logits'"),
        (
            {"inputs": [tensor()], "outputs": [{"name": "logits", "parameters": {"classification": -1}}]},
            "a number of classes, got -1",
        ),
        (
            {"inputs": [tensor()], "outputs": [{"name": "logits", "parameters": {"binary_data": 1}}]},
            "binary_data: expected true or false",
        ),
        (
            {"inputs": [tensor()], "outputs": [{"name": "logits", "parameters": {"shared_memory_region": "x"}}]},
            "not support shared memory",
        ),
        ({"inputs": [tensor()], "parameters": {"timeout": -5}}, "parameters.timeout: expected microseconds"),
        (
            {"inputs": [tensor()], "parameters": {"binary_data_output": "yes"}},
            "binary_data_output: expected true or false",
        ),
    ],
)
def test_json_that_makes_no_sense(document: Any, says: str) -> None:
    with pytest.raises(RequestError, match=says):
        parsed(document)


@pytest.mark.parametrize(
    ("document", "tail", "interface", "says"),
    [
        ({"inputs": [tensor()]}, b"xx", TENSORS, "2 bytes follow the JSON"),
        ({"inputs": [tensor(data=None)]}, b"xx", TENSORS, "2 bytes follow the JSON"),
        ({"size": 47}, b"\0" * 48, TENSORS, "47 bytes should follow the JSON, 48 do"),
        ({"size": 44}, b"\0" * 44, TENSORS, "takes 48 bytes, got 44"),
        ({"size": 48}, b"\0\0\xc0\x7f" * 12, TENSORS, "NaN or infinity"),
        ({"size": 3}, b"\0\0\0", IMAGES, "reaches beyond the end"),
        ({"size": 5}, b"\2\0\0\0x", IMAGES, "reaches beyond the end"),
        ({"size": 8}, b"\0" * 8, IMAGES, "the shape says 1 elements, the bytes hold 2"),
        ({"size": 8, "shape": [1, 2]}, b"\0" * 8, IMAGES, r"expected \[-1\] or \[-1, 1\] with 1 or more"),
        ({"size": 8, "shape": [9, 1]}, b"\0" * 8, IMAGES, "9 images, the server takes at most 8"),
        ({"size": 8, "shape": [1, 9], "datatype": "UINT8"}, b"\0" * 8, IMAGES, "takes 9 bytes, got 8"),
        ({"size": 8, "shape": [9, 2], "datatype": "UINT8"}, b"\0" * 8, IMAGES, "9 images, the server takes at most 8"),
        ({"size": 8, "shape": [1, 8], "datatype": "FP32"}, b"\0" * 8, IMAGES, "image is BYTES or UINT8, got"),
    ],
)
def test_bytes_that_make_no_sense(document: dict, tail: bytes, interface: Interface, says: str) -> None:
    if "size" in document:
        shape = [1] if interface is IMAGES else [1, 3, 2, 2]
        about = {"name": interface.input_name, "datatype": interface.datatype, "shape": shape}
        about |= {key: document[key] for key in ("shape", "datatype") if key in document}
        document = {"inputs": [about | {"parameters": {"binary_data_size": document["size"]}}]}
    with pytest.raises(RequestError, match=says):
        parsed(document, tail, interface)


def test_lengths_and_raw_bodies_that_make_no_sense() -> None:
    for body, length, says in (
        (b"{}", 3, "says 3 bytes of JSON"),
        (b"{", None, "not valid JSON"),
        (b"[" * 5000, None, "not valid JSON"),
    ):
        with pytest.raises(RequestError, match=says):
            parse_request(body, length, TENSORS)
    for size in (0, 47, 49):
        with pytest.raises(RequestError, match="an image takes 48 bytes"):
            parse_request(b"\0" * size, 0, TENSORS)
    with pytest.raises(RequestError, match="in JSON an image is base64 text"):
        parsed({"inputs": [{"name": "image", "shape": [1], "datatype": "BYTES", "data": ["ä"]}]}, interface=IMAGES)


@pytest.mark.parametrize("length", ["x", "-1", "1_0", "9" * 13])
def test_a_length_header_that_is_none(served: Running, length: str) -> None:
    answer = served.post("/v2/models/tiny/infer", content=b"{}", headers={"inference-header-content-length": length})
    assert answer.status_code == 400
    assert "Inference-Header-Content-Length" in answer.json()["error"]


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 8), *map(st.just, (3, 2, 2))),
        elements=st.floats(-(2.0**99), 2.0**99, width=32),
    )
)
def test_tensors_arrive_as_they_were_sent(values: np.ndarray) -> None:
    shape, data = list(values.shape), values.astype("<f4").tobytes()
    about = {"name": "input", "datatype": "FP32", "shape": shape}
    forms = [
        parsed({"inputs": [about | {"data": values.tolist()}]}),
        parsed({"inputs": [about | {"data": values.ravel().tolist()}]}),
        parsed({"inputs": [about | {"parameters": {"binary_data_size": len(data)}}]}, data),
        parse_request(data, 0, TENSORS),
    ]
    for request in forms:
        assert np.array_equal(np.stack(request.sources), values)


@given(st.lists(st.binary(max_size=20), min_size=1, max_size=8))
def test_images_arrive_as_they_were_sent(images: list[bytes]) -> None:
    about = {"name": "image", "datatype": "BYTES", "shape": [len(images)]}
    data = b"".join(struct.pack("<I", len(image)) + image for image in images)
    assert (
        list(
            parsed(
                {"inputs": [about | {"data": [base64.b64encode(i).decode() for i in images]}]}, interface=IMAGES
            ).sources
        )
        == images
    )
    assert (
        list(parsed({"inputs": [about | {"parameters": {"binary_data_size": len(data)}}]}, data, IMAGES).sources)
        == images
    )


@given(
    logits=arrays.arrays(
        np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(-(2.0**99), 2.0**99, width=32)
    ),
    classes=st.integers(0, 5),
    binary=st.booleans(),
)
def test_answers_say_the_same_in_json_and_in_bytes(logits: np.ndarray, classes: int, binary: bool) -> None:
    parameters = {"binary_data": binary} | ({"classification": classes} if classes else {})
    request = parsed({"inputs": [tensor()], "outputs": [{"name": "logits", "parameters": parameters}]})
    body, length = encode_response(request, logits, TENSORS)
    assert (length is not None) == binary
    (output,) = orjson.loads(body[:length])["outputs"]
    tail = body[length:] if binary else b""
    assert not binary or output["parameters"]["binary_data_size"] == len(tail)
    if not classes:
        got = np.frombuffer(tail, "<f4") if binary else np.array(output["data"], np.float32)
        assert np.array_equal(got.reshape(output["shape"]), logits)
        return
    texts, rest = list(output.get("data", [])), tail
    while rest:
        (size,) = struct.unpack_from("<I", rest)
        texts.append(rest[4 : 4 + size].decode())
        rest = rest[4 + size :]
    assert output["shape"] == [len(logits), min(classes, 3)]
    assert len(texts) == len(logits) * min(classes, 3)
    for row, first in zip(logits, texts[:: min(classes, 3)], strict=True):
        assert first == f"{row[row.argmax()]:f}:{row.argmax()}:{TENSORS.labels[row.argmax()]}"


@given(images=st.lists(st.binary(min_size=1, max_size=20), min_size=1, max_size=8), form=st.sampled_from("NUM"))
def test_encoded_images_in_other_shapes(images: list[bytes], form: str) -> None:
    """BYTES of [N, 1], as Triton's models with a batch dimension take them; the bytes of a file as UINT8 of [1, n]."""
    if form == "N":
        data = b"".join(struct.pack("<I", len(image)) + image for image in images)
        shape, datatype, texts = [len(images), 1], "BYTES", [[base64.b64encode(image).decode()] for image in images]
    else:
        images = images[:1] if form == "U" else [image.ljust(20, b"\0") for image in images]
        data, datatype = b"".join(images), "UINT8"
        shape = [len(data)] if form == "U" and len(data) % 2 else [len(images), len(images[0])]
        texts = [list(image) for image in images] if len(shape) == 2 else list(data)
    about = {"name": "image", "datatype": datatype, "shape": shape}
    in_json = parsed({"inputs": [about | {"data": texts}]}, interface=IMAGES)
    in_bytes = parsed({"inputs": [about | {"parameters": {"binary_data_size": len(data)}}]}, data, IMAGES)
    assert list(in_json.sources) == list(in_bytes.sources) == images


FIELDS = [
    "inputs",
    "outputs",
    "parameters",
    "name",
    "shape",
    "datatype",
    "data",
    "id",
    "classification",
    "binary_data_size",
]
LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(max_size=5)
ANYTHING = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner), max_leaves=8
)


@given(ANYTHING)
def test_no_json_is_more_than_a_request_error(document: Any) -> None:
    for interface in (TENSORS, IMAGES):
        for body in (
            document,
            {"inputs": [document]},
            {"inputs": [tensor(data=document)]},
            {"inputs": [tensor()], "outputs": document},
        ):
            with suppress(RequestError):
                parse_request(orjson.dumps(body), None, interface)


def test_the_labels_of_the_artifact(served: Running, batch: np.ndarray, logits: np.ndarray) -> None:
    outputs = [{"name": "logits", "parameters": {"classification": 2}}]
    request = {
        "inputs": [{"name": "input", "shape": [1, 3, 32, 32], "datatype": "FP32", "data": batch[0].ravel().tolist()}],
        "outputs": outputs,
    }
    (output,) = served.post("/v2/models/tiny/infer", json=request).json()["outputs"]
    best = int(logits[0].argmax())
    assert output["data"][0].split(":")[1:] == [str(best), LABELS[best]]
