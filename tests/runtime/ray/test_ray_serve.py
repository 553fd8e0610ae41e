"""`torchless serve --engine ray` as a process of its own, with two replicas on the shared cluster, one of which is
killed.
"""

import http.client
import json
import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tests.runtime.ray.processes import ray_processes
from tests.server_process import ServerProcess, free_port, wait_until
from tests.surroundings import PATIENCE_S

from torchless import Classifier
from torchless.model.signing import make_key, sign
from torchless.ray import serve as ray_serve

pytestmark = pytest.mark.slow

CommandLine = Callable[..., tuple[int, str, str]]


class Server(ServerProcess):
    """With Ray's engine, whose port is to be named."""

    def __init__(self, *arguments: object) -> None:
        self.port = free_port()
        fixed = ["--engine", "ray", "--port", self.port]
        super().__init__([sys.executable, "-m", "torchless", "serve", *arguments, *fixed])


@pytest.fixture(scope="module")
def server(ray_cluster: str, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Of a signed model, so that the replicas are seen to get the signature too."""
    folder = tmp_path_factory.mktemp("signed")
    model = shutil.copy(tiny, folder / "tiny.onnx")
    make_key(folder / "key")
    sign(model, folder / "key")
    server = Server(
        model, "--workers", 2, "--address", ray_cluster, "--device", "cpu", "--require-signature", folder / "key.pub"
    )
    yield server
    assert server.stop() == 0
    assert [line.split(" ", 2)[-1] for line in server.log.splitlines()[-2:]] == ["stopping", "stopped"], server.log
    assert "Traceback" not in server.log
    wait_until(lambda: not replicas())


@pytest.fixture
def client(server: Server) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
        yield client


def replicas() -> list[int]:
    return ray_processes("ServeReplica:torchless")


@pytest.fixture(scope="module")
def classifier(tiny: Path) -> Classifier:
    return Classifier(tiny, device="cpu", threads=1)


def test_the_answers_are_those_of_one_process(
    server: Server, client: httpx.Client, classifier: Classifier, photos: Path
) -> None:
    assert len(replicas()) == 2
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/tiny/ready", "/", "/page/page.js", "/metrics"):
        assert client.get(path).status_code == 200, path
    assert client.get("/models").json()[0]["classes"] == 5
    for name in ("coffee.png", "rocket.jpg"):
        answer = client.post("/classify?top_k=3", content=(photos / name).read_bytes())
        assert answer.json() == classifier.classify((photos / name).read_bytes(), top_k=3).to_dict()
    bad = client.post("/classify", content=b"no image")
    assert (bad.status_code, bad.json()["predictions"]) == (400, [])
    missing = client.get("/v2/models/none")
    assert (missing.status_code, list(missing.json())) == (404, ["error"])


def test_the_v2_protocol_with_tritons_client(server: Server, classifier: Classifier, photos: Path) -> None:
    protocol = triton.InferenceServerClient(f"127.0.0.1:{server.port}")
    assert protocol.is_server_ready()
    assert protocol.get_model_metadata("tiny")["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, 3, 32, 32]}
    ]
    images = [photos / "coffee.png", photos / "rocket.jpg"]
    batch = np.stack([classifier.preprocess(image) for image in images])
    given = triton.InferInput("input", list(batch.shape), "FP32")
    given.set_data_from_numpy(batch)
    answer = protocol.infer("tiny", [given])
    np.testing.assert_allclose(answer.as_numpy("logits"), classifier.logits(images), rtol=1e-5, atol=1e-5)
    protocol.close()


class HeldRequest:
    """A request half of whose body has come, so that some replica has it in hand."""

    def __init__(self, port: int, body: bytes) -> None:
        self._connection, self._rest = (
            http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S),
            body[len(body) // 2 :],
        )
        self._connection.putrequest("POST", "/classify")
        self._connection.putheader("Content-Length", str(len(body)))
        self._connection.endheaders(body[: len(body) // 2])

    def finish(self) -> tuple[int, dict]:
        with suppress(OSError):  # it has its answer already
            self._connection.send(self._rest)
        response = self._connection.getresponse()
        status, body = response.status, response.read()
        self._connection.close()
        return status, json.loads(body)


def test_a_replica_that_is_killed_takes_with_it_what_it_had_in_hand(
    server: Server, classifier: Classifier, photos: Path
) -> None:
    body = (photos / "rocket.jpg").read_bytes()
    right = classifier.classify(body).to_dict()
    lost = {"error": "the server process that worked on this request ended; send it again"}
    answers: list[tuple[int, dict]] = []
    enough = threading.Event()

    def load() -> None:
        with httpx.Client(base_url=server.url, timeout=PATIENCE_S) as client:
            while not enough.is_set():
                answer = client.post("/classify", content=body)
                answers.append((answer.status_code, answer.json()))

    before = replicas()
    held = [HeldRequest(server.port, body) for _ in range(12)]  # so many that each replica gets some
    clients = [threading.Thread(target=load) for _ in range(2)]
    for client in clients:
        client.start()
    wait_until(lambda: len(answers) >= 10)
    os.kill(before[0], signal.SIGKILL)
    many = len(answers) + 40
    wait_until(lambda: len(answers) >= many)
    wait_until(lambda: len(replicas()) == 2 and replicas() != before)
    many = len(answers) + 20
    wait_until(lambda: len(answers) >= many)
    enough.set()
    for client in clients:
        client.join()
    finished = [request.finish() for request in held]
    assert all(answer in ((200, right), (503, lost)) for answer in (*answers, *finished)), {
        status for status, _ in (*answers, *finished)
    }
    assert 1 <= [status for status, _ in finished].count(503) <= 11, "both had some in hand, and one of them ended"
    assert [status for status, _ in answers].count(503) <= len(clients), "no more than it had in hand"
    assert [status for status, _ in answers[-20:]] == [200] * 20


@pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")  # of Ray Serve, as it is imported
def test_what_is_wrong_is_told_before_it_listens(
    server: Server, tiny: Path, tmp_path: Path, command_line: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_serve, "is_own", lambda address: address is None)
    for arguments, code, message in (
        ([tiny, "--engine", "ray", "--allow-model-control"], 2, "model control reaches one replica"),
        ([tiny, "--engine", "ray", "--port", 0], 2, "name one with --port"),
        ([tiny, "--address", "auto"], 2, "--address names a Ray cluster: add --engine ray"),
        ([tmp_path / "no.onnx", "--engine", "ray", "--address", "x"], 3, "there is no file"),
        ([tiny, "--engine", "ray", "--port", server.port], 2, f"cannot listen on 127.0.0.1 port {server.port}"),
        (
            [tiny, "--engine", "ray", "--address", "x", "-d", "cpu"],
            2,
            "Ray Serve already runs on this cluster, for others",
        ),
    ):
        found, printed, err = command_line("torchless", "serve", *arguments)
        assert (found, printed) == (code, "")
        assert message in err
