"""Triton's configuration and statistics, as its client and its tools read them."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.http as triton
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st
from tests.data import LABELS
from tests.runtime.serve.conftest import Running, running
from tests.runtime.serve.test_triton import image_input
from tests.surroundings import PATIENCE_S
from tritonclient.grpc import model_config_pb2, service_pb2

from torchless.errors import ImageDecodeError
from torchless.serve.jobs import ImageLogits, Timings
from torchless.serve.statistics import ModelStatistics


def test_configuration(served: Running, pixels: Path) -> None:
    """It is a ModelConfig in Triton's own words, and agrees with the metadata."""
    for name, batch, shape in (("tiny", 256, [3, 32, 32]), ("tiny_image", 0, [-1])):
        config = served.client.get(f"/v2/models/{name}/config").json()
        assert served.client.get(f"/v2/models/{name}/versions/1/config").json() == config
        message = json_format.ParseDict(config, model_config_pb2.ModelConfig())
        assert (message.name, message.max_batch_size, list(message.input[0].dims)) == (name, batch, shape)
        metadata = served.client.get(f"/v2/models/{name}").json()
        for key, tensors in (("inputs", config["input"]), ("outputs", config["output"])):
            assert metadata[key][0]["shape"] == ([-1] if batch else []) + tensors[0]["dims"]
            assert metadata[key][0]["name"] == tensors[0]["name"]
        assert config["output"][0]["dims"][-1] == len(LABELS)
    assert served.client.get("/v2/models/none/config").status_code == 404
    with running(pixels) as server:
        config = server.client.get("/v2/models/pixels/config").json()
        assert config["input"] == [{"name": "image", "data_type": "TYPE_UINT8", "dims": [-1, -1, 3]}]


def test_statistics_count_what_was_done(tiny: Path, photos: Path) -> None:
    image = (photos / "coffee.png").read_bytes()
    with running(tiny) as server, triton.InferenceServerClient(server.address) as client:
        for many in (1, 3):
            client.infer("tiny_image", [image_input([image] * many)])
        server.post("/classify", content=image)
        server.post("/classify", content=b"no image")
        tensor = triton.InferInput("input", [1, 3, 32, 32], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 3, 32, 32), np.float32))
        client.infer("tiny", [tensor])
        every = client.get_inference_statistics()
        tensors, images = every["model_stats"]
        assert client.get_inference_statistics("tiny_image", "1")["model_stats"] == [images]
        assert (tensors["name"], images["name"]) == ("tiny", "tiny_image")
        assert server.client.get("/v2/models/none/stats").status_code == 404
        json_format.ParseDict(every, service_pb2.ModelStatisticsResponse())
    assert tensors["inference_count"] == tensors["execution_count"] == 1
    assert images["inference_count"] == 5
    assert (images["inference_stats"]["success"]["count"], images["inference_stats"]["fail"]["count"]) == (3, 1)
    assert images["last_inference"] / 1000 == pytest.approx(time.time(), abs=PATIENCE_S)


def of(outcomes: list[Any], seconds: float = 1.0) -> dict[str, Any]:
    statistics = ModelStatistics()
    statistics.record(outcomes, seconds)
    return statistics.document()


@given(sizes=st.lists(st.sampled_from([1, 2, 4, 8]), max_size=9))
def test_images_that_ran_together_are_one_execution(sizes: list[int]) -> None:
    statistics = ModelStatistics()
    for size in sizes:
        for _ in range(size):  # each came with a request of its own
            statistics.record([ImageLogits(np.zeros(1, np.float32), Timings(0.1, 0.2, 0.3, 0.4), size)], 2.0)
    document = statistics.document()
    assert (document["execution_count"], document["inference_count"]) == (len(sizes), sum(sizes))
    assert [row["batch_size"] for row in document["batch_stats"]] == sorted(set(sizes))
    for row in document["batch_stats"]:
        count = sizes.count(row["batch_size"])
        assert row["compute_infer"] == {"count": count, "ns": pytest.approx(0.4e9 * count)}
        assert row["compute_input"] == {"count": count, "ns": pytest.approx(0.5e9 * count)}


def test_a_request_takes_as_long_as_its_slowest_image() -> None:
    fast, slow = (ImageLogits(np.zeros(1, np.float32), Timings(0.1 * n, 0.2 * n, 0.3 * n, 0.4 * n), 1) for n in (1, 2))
    stages = of([fast, slow], 2.5)["inference_stats"]
    wanted = {"success": 2.5, "queue": 0.2, "compute_input": 1.0, "compute_infer": 0.8, "compute_output": 0.5}
    assert {name: stage["ns"] / 1e9 for name, stage in stages.items() if stage["count"]} == pytest.approx(wanted)


@pytest.mark.parametrize("bad", [[], [ImageDecodeError("x")]])
def test_what_fails_is_counted_apart(bad: list[Any]) -> None:
    good = [ImageLogits(np.zeros(1, np.float32), Timings(), 1)] if bad else []
    stages = of(good + bad)["inference_stats"]
    assert stages["fail"] == {"count": 1, "ns": 1_000_000_000}
    assert stages["success"] == stages["queue"] == {"count": 0, "ns": 0}
