"""The real client of Triton and KServe, tritonclient[http] from PyPI, as its users use it."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as sync
import tritonclient.http.aio as aio
from tests.data import LABELS
from tests.runtime.serve.conftest import Running, running
from tests.server_process import wait_until
from tritonclient.utils import InferenceServerException

from torchless import Classifier


def image_input(images: list[bytes], module: object = sync) -> sync.InferInput:
    tensor = module.InferInput("image", [len(images)], "BYTES")
    tensor.set_data_from_numpy(np.array(images, dtype=object))
    return tensor


def test_health_metadata_and_index(served: Running) -> None:
    client = sync.InferenceServerClient(served.address)
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("tiny")
    assert client.is_model_ready("tiny_image", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "torchless"
    assert client.get_model_metadata("tiny")["inputs"][0]["shape"] == [-1, 3, 32, 32]
    assert {row["name"]: row["state"] for row in client.get_model_repository_index()} == {
        "tiny": "READY",
        "tiny_image": "READY",
    }
    client.close()


@pytest.mark.parametrize("binary_in", [True, False])
@pytest.mark.parametrize("binary_out", [True, False])
def test_tensors(
    served: Running, tiny: Path, images: list[bytes], logits: np.ndarray, binary_in: bool, binary_out: bool
) -> None:
    classifier = Classifier(tiny, device="cpu")
    batch = np.stack([classifier.preprocess(image) for image in images])
    client = sync.InferenceServerClient(served.address)
    tensor = sync.InferInput("input", list(batch.shape), "FP32")
    tensor.set_data_from_numpy(batch, binary_data=binary_in)
    outputs = [sync.InferRequestedOutput("logits", binary_data=binary_out)]
    result = client.infer("tiny", [tensor], outputs=outputs, request_id="r1", model_version="1")
    assert result.get_response()["id"] == "r1"
    np.testing.assert_allclose(result.as_numpy("logits"), logits, rtol=1e-4, atol=1e-5)
    client.close()


def test_images_and_classification(served: Running, images: list[bytes], logits: np.ndarray) -> None:
    client = sync.InferenceServerClient(served.address, concurrency=4)
    result = client.infer("tiny_image", [image_input(images)])
    np.testing.assert_allclose(result.as_numpy("logits"), logits, rtol=1e-4, atol=1e-5)
    result = client.infer(
        "tiny_image", [image_input(images)], outputs=[sync.InferRequestedOutput("logits", class_count=2)]
    )
    answers = result.as_numpy("logits")
    assert answers.shape == (3, 2)
    value, index, label = answers[0, 0].decode().split(":")
    best = int(logits[0].argmax())
    assert (int(index), label, float(value)) == (best, LABELS[best], pytest.approx(float(logits[0, best]), abs=1e-4))
    waiting = [client.async_infer("tiny_image", [image_input([image])]) for image in images]
    for handle, row in zip(waiting, logits, strict=True):
        np.testing.assert_allclose(handle.get_result().as_numpy("logits")[0], row, rtol=1e-4, atol=1e-5)
    client.close()


def test_asyncio(served: Running, images: list[bytes], logits: np.ndarray) -> None:
    async def main() -> list[np.ndarray]:
        async with aio.InferenceServerClient(served.address) as client:
            assert await client.is_model_ready("tiny_image")
            results = await asyncio.gather(
                *(client.infer("tiny_image", [image_input([image], aio)]) for image in images * 4)
            )
            return [result.as_numpy("logits")[0] for result in results]

    np.testing.assert_allclose(np.stack(asyncio.run(main())), np.concatenate([logits] * 4), rtol=1e-4, atol=1e-5)


def test_errors_reach_the_client(served: Running, images: list[bytes]) -> None:
    client = sync.InferenceServerClient(served.address)
    with pytest.raises(InferenceServerException, match=r"\[400\] image\[1\]: it is text, not an image"):
        client.infer("tiny_image", [image_input([images[0], b"no image"])])
    with pytest.raises(InferenceServerException, match=r"\[404\] there is no model"):
        client.infer("other", [image_input(images)])
    with pytest.raises(InferenceServerException, match=r"\[400\] inputs\[0\].name: the model tiny takes 'input'"):
        client.infer("tiny", [image_input(images)])
    with pytest.raises(InferenceServerException, match=r"\[403\] loading and unloading by request is turned off"):
        client.load_model("tiny")
    client.close()


def test_model_control(tiny: Path, tmp_path: Path, images: list[bytes], logits: np.ndarray) -> None:
    """A file that changes, is damaged or vanishes leaves the loaded model as it is; only a good one replaces it."""
    path = tmp_path / "models" / "a.onnx"
    path.parent.mkdir()
    content = tiny.read_bytes()
    path.write_bytes(content)
    with running(path.parent, allow_model_control=True) as server:
        client = sync.InferenceServerClient(server.address)

        def answers() -> None:
            np.testing.assert_allclose(
                client.infer("a_image", [image_input(images)]).as_numpy("logits"), logits, rtol=1e-4, atol=1e-5
            )

        stale = 'torchless_model_file_changed{model="a",version="1"}'
        assert server.metric(stale) == 0
        path.write_bytes(content[: len(content) // 2])
        with pytest.raises(InferenceServerException, match=r"\[400\] failed to load 'a': .*a.onnx"):
            client.load_model("a")
        answers()
        wait_until(lambda: server.metric(stale) == 1)  # it waits for the disk no longer than a moment
        path.unlink()
        with pytest.raises(InferenceServerException, match="failed to load 'a'; the server's log says why"):
            client.load_model("a")
        answers()
        (path.parent / "b.onnx").write_bytes(content)
        path.write_bytes(content)
        assert {row["name"]: row.get("state") for row in client.get_model_repository_index()}["b_image"] is None
        client.load_model("b_image")
        client.load_model("a")
        wait_until(lambda: server.metric(stale) == 0)
        assert client.is_model_ready("b")
        client.unload_model("a")
        assert not client.is_model_ready("a_image")
        with pytest.raises(InferenceServerException, match=r"\[404\] there is no model 'a'; there are: b"):
            client.unload_model("a")
        for name in ("../a", "c"):
            with pytest.raises(InferenceServerException, match=r"\[404\]"):
                client.load_model(name)
        with pytest.raises(InferenceServerException, match="load takes no parameters"):
            client.load_model("a", config="{}")
        client.load_model("a")
        answers()
        client.close()
