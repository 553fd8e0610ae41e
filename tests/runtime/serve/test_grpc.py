"""gRPC: the real client of Triton, and whatever else a client may send."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from tests.data import LABELS
from tests.runtime.serve.conftest import IMAGES, TENSORS, Running, Valve, running
from tests.server_process import wait_until
from tests.surroundings import PATIENCE_S
from tritonclient.grpc import aio, model_config_pb2, service_pb2
from tritonclient.utils import InferenceServerException

from torchless import Classifier
from torchless.errors import UsageError
from torchless.serve.errors import RequestError
from torchless.serve.grpc import messages
from torchless.serve.grpc.bounds import check_bounds
from torchless.serve.grpc.inference import infer_request
from torchless.serve.models import ServedModel
from torchless.serve.settings import Settings

KEY = "k" * 16
SERVICE = "/inference.GRPCInferenceService"
Call = Callable[..., Any]


@pytest.fixture(scope="module")
def server(tiny: Path) -> Iterator[Running]:
    with running(tiny, grpc_port=0) as server:
        yield server


@pytest.fixture
def client(server: Running) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(server.grpc_address) as client:
        yield client


@pytest.fixture
def infer(server: Running) -> Iterator[Call]:
    """ModelInfer with the bytes of a message, by a client that knows nothing of the protocol."""
    with grpc.insecure_channel(server.grpc_address) as channel:
        yield channel.unary_unary(f"{SERVICE}/ModelInfer")


def image_input(images: list[bytes], shape: list[int] | None = None) -> triton.InferInput:
    tensor = triton.InferInput("image", shape or [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=object).reshape(shape or [len(images)]))
    return tensor


def message(**tensor: Any) -> Any:
    """A request in the form of tritonclient's own class, with contents rather than raw bytes."""
    about = {"name": "input", "datatype": "FP32", "shape": [1, 3, 32, 32]}
    return service_pb2.ModelInferRequest(model_name="tiny", inputs=[about | tensor])


def refusal(call: Callable[[], Any]) -> tuple[Any, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code(), caught.value.details()


def test_the_messages_are_the_published_ones() -> None:
    """As in tritonclient; they differ from the proto files in nothing but comments."""
    for name, theirs in (("model_config", model_config_pb2), ("grpc_service", service_pb2)):
        ours = (Path(messages.__file__).parent / "protocol" / f"{name}.descriptor").read_bytes()
        wanted = descriptor_pb2.FileDescriptorProto.FromString(theirs.DESCRIPTOR.serialized_pb)
        assert descriptor_pb2.FileDescriptorProto.FromString(ours) == wanted


def test_health_metadata_and_index(server: Running, client: triton.InferenceServerClient) -> None:
    """The same as over HTTP."""
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny_image", "1")
    assert not client.is_model_ready("other")
    get = server.client.get
    assert client.get_server_metadata(as_json=True) == get("/v2").json()
    for model in ("tiny", "tiny_image"):
        pairs = [(client.get_model_metadata(model), f"/v2/models/{model}")]
        pairs += [(client.get_model_config(model).config, f"/v2/models/{model}/config")]
        for answer, path in pairs:
            assert answer == json_format.ParseDict(get(path).json(), type(answer)())
    index = client.get_model_repository_index(as_json=True)["models"]
    assert [(row["name"], row["state"]) for row in index] == [("tiny", "READY"), ("tiny_image", "READY")]


@pytest.mark.parametrize("path", ["/grpc.health.v1.Health/Check", f"{SERVICE}/ServerLive", f"{SERVICE}/ServerReady"])
def test_probes_say_whether_it_is_ready(tiny: Path, path: str) -> None:
    """Kubernetes' probe is gRPC's own health protocol. None of them needs a key."""
    with running(tiny, grpc_port=0, api_keys=(KEY,)) as server, grpc.insecure_channel(server.grpc_address) as channel:
        check = channel.unary_unary(path)
        assert check(b"") == b"\x08\x01"
        server.service.ready = False
        assert check(b"") == {"Check": b"\x08\x02", "Live": b"\x08\x01"}.get(path[-5:].strip("/r"), b"")


def test_images_tensors_and_classification(
    client: triton.InferenceServerClient, tiny: Path, images: list[bytes], logits: np.ndarray
) -> None:
    result = client.infer("tiny_image", [image_input(images)], request_id="r1", model_version="1")
    np.testing.assert_allclose(result.as_numpy("logits"), logits, rtol=1e-4, atol=1e-5)
    assert result.get_response().id == "r1"
    column = client.infer("tiny_image", [image_input(images, [3, 1])])
    assert np.array_equal(column.as_numpy("logits"), result.as_numpy("logits"))
    classifier = Classifier(tiny, device="cpu")
    batch = np.stack([classifier.preprocess(image) for image in images])
    tensor = triton.InferInput("input", list(batch.shape), "FP32")
    tensor.set_data_from_numpy(batch)
    for algorithm in (None, "gzip", "deflate"):
        result = client.infer("tiny", [tensor], compression_algorithm=algorithm)
        np.testing.assert_allclose(result.as_numpy("logits"), logits, rtol=1e-4, atol=1e-5)
    outputs = [triton.InferRequestedOutput("logits", class_count=2)]
    answers = client.infer("tiny", [tensor], outputs=outputs).as_numpy("logits")
    best = int(logits[0].argmax())
    assert (answers.shape, answers[0, 0].decode().split(":")[1:]) == ((3, 2), [str(best), LABELS[best]])


def test_statistics(tiny: Path, images: list[bytes]) -> None:
    with running(tiny, grpc_port=0) as server, triton.InferenceServerClient(server.grpc_address) as client:
        client.infer("tiny_image", [image_input(images)])
        (tensors, encoded) = client.get_inference_statistics().model_stats
        assert (tensors.inference_count, encoded.inference_count, encoded.inference_stats.success.count) == (0, 3, 1)
        over_http = server.client.get("/v2/models/tiny_image/stats").json()
        assert client.get_inference_statistics("tiny_image") == json_format.ParseDict(
            over_http, service_pb2.ModelStatisticsResponse()
        )
        assert (
            server.metric(
                f'torchless_requests_total{{endpoint="{SERVICE}/ModelInfer",model="tiny",status="200",version="1"}}'
            )
            == 1
        )


def test_asyncio(server: Running, images: list[bytes], logits: np.ndarray) -> None:
    async def main() -> list[np.ndarray]:
        async with aio.InferenceServerClient(server.grpc_address) as client:
            assert await client.is_model_ready("tiny_image")
            calls = (client.infer("tiny_image", [image_input([image])]) for image in images * 4)
            return [result.as_numpy("logits")[0] for result in await asyncio.gather(*calls)]

    np.testing.assert_allclose(np.stack(asyncio.run(main())), np.concatenate([logits] * 4), rtol=1e-4, atol=1e-5)


def test_contents_instead_of_raw_bytes(
    infer: Call, tiny: Path, pixels: Path, images: list[bytes], logits: np.ndarray
) -> None:
    """As KServe's client and Triton's examples in Java send them."""

    def answer(request: Any) -> np.ndarray:
        response = service_pb2.ModelInferResponse.FromString(infer(request.SerializeToString()))
        return np.frombuffer(response.raw_output_contents[0], "<f4").reshape(response.outputs[0].shape)

    batch = Classifier(tiny, device="cpu").preprocess(images[0])
    request = message(contents={"fp32_contents": batch.ravel().tolist()})
    np.testing.assert_allclose(answer(request), logits[:1], rtol=1e-4, atol=1e-5)
    request = message(name="image", datatype="BYTES", shape=[3, 1], contents={"bytes_contents": images})
    request.model_name = "tiny_image"
    np.testing.assert_allclose(answer(request), logits, rtol=1e-4, atol=1e-5)
    file = {"name": "image", "datatype": "UINT8", "shape": [1, len(images[1])]}
    request = message(**file, contents={"uint_contents": images[1]})
    request.model_name = "tiny_image"
    np.testing.assert_allclose(answer(request), logits[1:2], rtol=1e-4, atol=1e-5)


BAD: list[tuple[Any, Any, str]] = [
    (message(contents={"fp32_contents": [0.0]}), "INVALID_ARGUMENT", "has 3072 elements, data has 1"),
    (message(contents={"fp64_contents": [0.0] * 3072}), "INVALID_ARGUMENT", "too many fields"),
    (message(), "INVALID_ARGUMENT", "has 3072 elements, data has 0"),
    (message(name="x"), "INVALID_ARGUMENT", "the model tiny takes 'input'"),
    (message(datatype="FP16"), "INVALID_ARGUMENT", "input is FP32"),
    (message(shape=[3]), "INVALID_ARGUMENT", r"inputs[0].shape: expected [-1, 3, 32, 32]"),
    (message(parameters={"shared_memory_region": {"string_param": "x"}}), "INVALID_ARGUMENT", "support shared memory"),
    (message(contents={"fp32_contents": [float("nan")] * 3072}), "INVALID_ARGUMENT", "NaN or infinity"),
    (service_pb2.ModelInferRequest(model_name="tiny"), "INVALID_ARGUMENT", "expected a list of one tensor"),
    (service_pb2.ModelInferRequest(model_name="other"), "NOT_FOUND", "there is no model 'other'"),
    (service_pb2.ModelInferRequest(model_name="tiny", model_version="2"), "NOT_FOUND", "no version '2'"),
]  # fmt: skip


@pytest.mark.parametrize(("request_", "code", "says"), BAD, ids=range(len(BAD)))
def test_errors_say_what_is_wrong(infer: Call, request_: Any, code: str, says: str) -> None:
    found, details = refusal(lambda: infer(request_.SerializeToString()))
    assert found.name == code
    assert says in details


def test_raw_bytes_that_make_no_sense(infer: Call) -> None:
    for raw, contents, says in (
        ([b"1234"], {}, "takes 12288 bytes, got 4"),
        ([b"", b""], {}, "raw_input_contents: expected one"),
        ([b"1234"], {"fp32_contents": [1.0]}, "both contents and raw_input_contents"),
    ):
        request = message(contents=contents)
        request.raw_input_contents.extend(raw)
        code, details = refusal(lambda request=request: infer(request.SerializeToString()))
        assert (code, says in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


def test_whole_numbers_beyond_a_byte(infer: Call) -> None:
    request = message(name="image", datatype="UINT8", shape=[1, 2], contents={"uint_contents": [1, 256]})
    request.model_name = "tiny_image"
    assert "only whole numbers from 0 to 255" in refusal(lambda: infer(request.SerializeToString()))[1]


def test_methods_that_there_are_not(server: Running, client: triton.InferenceServerClient, infer: Call) -> None:
    with pytest.raises(InferenceServerException, match="UNIMPLEMENTED"):
        client.get_trace_settings()
    with pytest.raises(InferenceServerException, match="PERMISSION_DENIED.*turned off"):
        client.load_model("tiny")
    with pytest.raises(InferenceServerException, match="PERMISSION_DENIED.*turned off"):
        client.unload_model("tiny")
    with grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.stream_unary(f"{SERVICE}/ModelInfer")
        assert refusal(lambda: call(iter(())))[1] == "the call has no message"


def test_keys(tiny: Path, images: list[bytes]) -> None:
    with (
        running(tiny, grpc_port=0, api_keys=(KEY,)) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        assert client.is_server_ready()
        for headers in (None, {"authorization": "Bearer wrong"}, {"authorization": KEY}):
            with pytest.raises(InferenceServerException, match="UNAUTHENTICATED.*an API key is required"):
                client.infer("tiny_image", [image_input(images)], headers=headers)
            with pytest.raises(InferenceServerException, match="UNAUTHENTICATED"):
                client.get_server_metadata(headers)
        client.infer("tiny_image", [image_input(images)], headers={"authorization": f"Bearer {KEY}"})


def test_model_control(tiny: Path, tmp_path: Path, images: list[bytes]) -> None:
    (tmp_path / "a.onnx").write_bytes(tiny.read_bytes())
    with (
        running(tmp_path, grpc_port=0, allow_model_control=True) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        (tmp_path / "b.onnx").write_bytes(tiny.read_bytes())
        client.load_model("b")
        client.unload_model("a")
        client.infer("b_image", [image_input(images)])
        index = {row.name: row.state for row in client.get_model_repository_index().models}
        assert index == {"a": "", "a_image": "", "b": "READY", "b_image": "READY"}
        for name, says in (("c", "NOT_FOUND"), ("../a", "NOT_FOUND")):
            with pytest.raises(InferenceServerException, match=says):
                client.load_model(name)
        with pytest.raises(InferenceServerException, match="load takes no parameters"):
            client.load_model("a", config="{}")


def test_messages_are_bounded_as_bodies_are(tiny: Path) -> None:
    """Before and after unpacking; and what is held counts with HTTP's bodies."""
    limits = {"max_body_bytes": 1 << 20, "max_bodies_bytes": 1 << 20}
    with running(tiny, grpc_port=0, **limits) as server, grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.unary_unary(f"{SERVICE}/ModelInfer")
        for size, compression in ((1 << 20, None), (50 << 20, grpc.Compression.Gzip)):
            request = service_pb2.ModelInferRequest(model_name="tiny", raw_input_contents=[bytes(size)])
            code, details = refusal(lambda r=request, c=compression: call(r.SerializeToString(), compression=c))
            assert (code, "larger than max" in details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, True)
        request = message(contents={"fp32_contents": [0.0] * 3072}).SerializeToString()
        server.service.bodies._held = (1 << 20) - 1000
        with pytest.raises(grpc.RpcError) as caught:
            call(request)
        assert caught.value.code() == grpc.StatusCode.UNAVAILABLE
        assert dict(caught.value.trailing_metadata())["retry-after"] == "1"
        server.service.bodies._held = 0
        call(request)
        assert server.service.bodies._held == 0


def test_a_message_that_does_not_arrive(tiny: Path) -> None:
    """It holds the only place for messages being received, and then another has it."""
    limits = {"max_body_bytes": 1 << 20, "max_bodies_bytes": 1 << 20, "body_timeout_s": 0.2}
    never = threading.Event()
    with running(tiny, grpc_port=0, **limits) as server, grpc.insecure_channel(server.grpc_address) as channel:
        call = channel.stream_unary(f"{SERVICE}/ModelInfer")
        code, details = refusal(lambda: call(iter(never.wait, True), timeout=PATIENCE_S))
        assert (code, details) == (grpc.StatusCode.DEADLINE_EXCEEDED, "the message did not arrive within 0.2 s")
        server.service.settings = replace(server.service.settings, body_timeout_s=PATIENCE_S)
        assert channel.unary_unary(f"{SERVICE}/ModelReady")(b"\x0a\x04tiny") == b"\x08\x01"
        never.set()


def test_deadlines_overload_and_clients_that_leave(tiny: Path, images: list[bytes], valve: Valve) -> None:
    with (
        running(tiny, grpc_port=0, max_queue=1, opening=Settings.opening) as server,
        triton.InferenceServerClient(server.grpc_address) as client,
    ):
        batcher = server.service.batcher
        valve.close()

        held = []
        for busy in range(1, len(batcher._threads) + 2):
            held.append(client.async_infer("tiny_image", [image_input(images[:1])], lambda result, error: None))
            wait_until(lambda busy=busy: valve.entered == busy or busy > len(batcher._threads))
        wait_until(lambda: batcher.waiting == 1)
        with pytest.raises(InferenceServerException, match="UNAVAILABLE.*the queue is full: 1 of 1"):
            client.infer("tiny_image", [image_input(images[:1])])
        held[-1].cancel()
        wait_until(lambda: batcher.waiting == 0)
        with pytest.raises(InferenceServerException, match="DEADLINE_EXCEEDED.*no answer within 0.05 s"):
            client.infer("tiny_image", [image_input(images[:1])], timeout=50_000)
        with pytest.raises(InferenceServerException, match="Deadline Exceeded"):
            client.infer("tiny_image", [image_input(images[:1])], client_timeout=0.05)
        wait_until(lambda: batcher.waiting == 0)
        valve.open()


def test_accepted_calls_are_answered_before_it_ends(
    tiny: Path, images: list[bytes], valve: Valve, logits: np.ndarray
) -> None:
    got: list[Any] = []
    with running(tiny, grpc_port=0) as server, triton.InferenceServerClient(server.grpc_address) as client:
        valve.close()
        client.async_infer("tiny_image", [image_input(images[:1])], lambda result, error: got.append(error or result))
        wait_until(lambda: valve.entered == 1)
        server.server.should_exit = True
        wait_until(lambda: server.service.stopping)
        valve.open()
        wait_until(lambda: got)
        np.testing.assert_allclose(got[0].as_numpy("logits"), logits[:1], rtol=1e-4, atol=1e-5)
    assert not server.thread.is_alive()


def test_a_defect_of_ours(
    server: Running,
    client: triton.InferenceServerClient,
    images: list[bytes],
    monkeypatch: pytest.MonkeyPatch,
    server_log: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(ServedModel, "decode", fail)
    with pytest.raises(InferenceServerException, match="INTERNAL.*internal error; the server's log has the details"):
        client.infer("tiny_image", [image_input(images[:1])])
    assert "secret" in server_log.text


@given(values=st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=12, max_size=12), raw=st.booleans())
def test_tensors_arrive_as_they_were_sent(values: list[float], raw: bool) -> None:
    request = messages.ModelInferRequest(inputs=[{"name": "input", "datatype": "FP32", "shape": [1, 3, 2, 2]}])
    if raw:
        request.raw_input_contents.append(np.array(values, "<f4").tobytes())
    else:
        request.inputs[0].contents.fp32_contents.extend(values)
    assert np.array_equal(np.ravel(infer_request(request, TENSORS).sources), np.array(values, np.float32))


@given(
    st.binary(max_size=60)
    | st.builds(
        lambda parts: b"".join(parts),
        st.lists(
            st.sampled_from(
                [
                    b"\x2a\x05\x0a\x03abc",
                    b"\x3a\x01x",
                    b"\x22\x02\x0a\x00",
                    b"\x2a\x06\x2a\x04\x32\x02ab",
                    b"\x00",
                    b"\x08\x01",
                    b"\xff",
                ]
            )
        ),
    )
)
def test_no_bytes_are_more_than_a_request_error(raw: bytes) -> None:
    descriptor = messages.ModelInferRequest.DESCRIPTOR
    try:
        check_bounds(raw, descriptor, 8)
        request = messages.ModelInferRequest.FromString(raw)
    except (RequestError, DecodeError):
        return
    for interface in (TENSORS, IMAGES):
        with pytest.raises(RequestError):
            infer_request(request, interface)


def field(number: int, content: bytes) -> bytes:
    length = len(content)
    varint = b""
    while True:
        varint += bytes([length & 127 | (128 if length > 127 else 0)])
        length >>= 7
        if not length:
            return bytes([number << 3 | 2]) + varint + content


MANY = 100_000


@pytest.mark.parametrize(
    "raw",
    [
        field(5, b"") * MANY,  # inputs
        field(6, b"") * MANY,
        field(7, b"") * MANY,  # raw_input_contents
        field(4, b"") * MANY,  # parameters
        field(5, field(5, field(8, b"") * MANY)),  # bytes_contents
        field(5, field(5, field(3, bytes(MANY)))),  # int64_contents, packed: eight bytes for each
        field(5, field(3, bytes(MANY))),  # shape, packed
        field(5, b"\x18\x01" * MANY),  # and not
        field(15, b"") * MANY,  # unknown
    ],
    ids=range(9),
)
def test_what_grows_is_refused_before_it_grows(infer: Call, raw: bytes) -> None:
    code, details = refusal(lambda: infer(field(1, b"tiny") + raw))
    assert (code, "too many fields" in details) == (grpc.StatusCode.INVALID_ARGUMENT, True)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"port": 8000, "grpc_port": 8000}, "HTTP and gRPC cannot share port 8000"),
        ({"grpc_port": 0, "workers": 2}, "name one with `grpc_port`"),
        ({"grpc_port": -1}, "`grpc_port` must be at least 0"),
    ],
)
def test_ports_that_cannot_be(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        Settings(models=(Path("a.onnx"),), **settings)
