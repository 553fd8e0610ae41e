"""Real servers: in a thread of this process, or as the installed program."""

import logging
import re
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from tests.server_process import ServerProcess, wait_until
from tests.surroundings import PATIENCE_S

from torchless import Classifier
from torchless.engine.options import ModelOptions
from torchless.serve.models import ServedModel
from torchless.serve.occupancy import Waits
from torchless.serve.oip.tensors import Interface
from torchless.serve.registry import Registry
from torchless.serve.server import Server, listen, make_service
from torchless.serve.settings import Settings

PHOTOS = ("coffee.png", "chelsea.png", "camera.png", "rocket.jpg")
# The interfaces of a model of tensors and of one of images.
TENSORS = Interface(
    model="m",
    input_name="input",
    datatype="FP32",
    input_shape=(-1, 3, 2, 2),
    output_name="logits",
    labels=("a", "b", "c"),
    max_images=8,
)
IMAGES = Interface(
    model="m_image",
    input_name="image",
    datatype="BYTES",
    input_shape=(-1,),
    output_name="logits",
    labels=("a", "b", "c"),
    max_images=8,
)


class Running:
    """A server, and an HTTP client for it."""

    def __init__(self, settings: Settings) -> None:
        self.registry = Registry(settings)
        self.registry.load_all()
        self.listener = listen(settings.host, settings.port)
        self.address = "{}:{}".format(*self.listener.getsockname())
        self.service = make_service(settings, self.registry)
        self.server = Server(settings, self.service)
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()
        self.client = httpx.Client(base_url=f"http://{self.address}", timeout=PATIENCE_S)
        wait_until(lambda: self.service.ready)

    def close(self) -> None:
        self.client.close()
        self.server.should_exit = True
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive()

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.service.grpc_port}"

    def post(self, path: str, **request: Any) -> httpx.Response:
        return self.client.post(path, **request)

    def connect(self, *, header_timeout_s: float | None = None) -> socket.socket:
        """A new connection; `header_timeout_s` counts once the server has it, so that a first head may come late."""
        occupancy = self.server.config.occupancy
        new = len(occupancy._places[Waits.NEW])
        connection = socket.create_connection(self.listener.getsockname(), timeout=PATIENCE_S)
        if header_timeout_s is not None:
            wait_until(lambda: len(occupancy._places[Waits.NEW]) > new)
            self.server.config.header_timeout_s = header_timeout_s
        return connection

    def metric(self, line: str) -> float:
        """The value of a line of /metrics; 0 if there is none."""
        found = re.search(rf"^{re.escape(line)} (\S+)$", self.client.get("/metrics").text, re.MULTILINE)
        return float(found[1]) if found else 0.0


@contextmanager
def running(*models: Path, opening: ModelOptions = Settings.opening, **settings: Any) -> Iterator[Running]:
    """Without processes for images unless `processes` says how many: so tests see all that it does."""
    settings = {"processes": 0} | settings
    server = Running(
        Settings(models=models, port=0, opening=replace(opening, device="cpu"), drain_delay_s=0, **settings)
    )
    try:
        yield server
    finally:
        server.close()


@pytest.fixture(scope="session")
def served(tiny: Path) -> Iterator[Running]:
    """The tiny model, served as by `torchless serve tiny.onnx`; for tests that do not change it."""
    with running(tiny) as server:
        yield server


@pytest.fixture(autouse=True)
def _no_logs_left() -> Iterator[None]:
    """Command lines send the server's log to their own stderr, which ends with the test. What a server that goes on
    says between tests is not for the terminal, where logging puts what has no handler.
    """
    yield
    for name in ("torchless.serve", "uvicorn"):
        logging.getLogger(name).handlers[:] = [logging.NullHandler()]


@pytest.fixture
def server_log(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """What the server logs, however logging was configured before."""
    logger = logging.getLogger("torchless.serve")
    propagate, level, logger.propagate = logger.propagate, logger.level, False
    logger.addHandler(caplog.handler)
    logger.setLevel(logging.INFO)
    yield caplog
    logger.removeHandler(caplog.handler)
    logger.propagate, logger.level = propagate, level


@pytest.fixture(scope="module")
def images(photos: Path) -> list[bytes]:
    return [(photos / name).read_bytes() for name in ("coffee.png", "rocket.jpg", "camera.png")]


@pytest.fixture(scope="module")
def logits(tiny: Path, images: list[bytes]) -> np.ndarray:
    return Classifier(tiny, device="cpu").logits(images)


class Valve:
    """Holds back every forward pass until it is opened; `entered` counts those that arrived."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._open = threading.Event()
        self.entered = 0
        run = ServedModel.run

        def held(model: ServedModel, batch: Any, *, alone: bool) -> Any:
            self.entered += 1
            assert self._open.wait(PATIENCE_S)
            return run(model, batch, alone=alone)

        self.close = lambda: monkeypatch.setattr(ServedModel, "run", held)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def valve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Valve]:
    """Close it once the server has warmed up."""
    valve = Valve(monkeypatch)
    yield valve
    valve.open()


class Program(ServerProcess):
    """`torchless serve …`, once it is ready."""

    def __init__(self, *arguments: object) -> None:
        alone = [] if "--processes" in arguments or "--workers" in arguments else ["--processes", "0"]
        fixed = ["--port", "0", "--device", "cpu", "--log-format", "json"]
        super().__init__([sys.executable, "-m", "torchless", "serve", *arguments, *alone, *fixed])
        wait_until(self.is_ready)

    def is_ready(self) -> bool:
        try:
            return self.get("/v2/health/ready").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def program() -> Iterator[Callable[..., Program]]:
    started: list[Program] = []

    def start(*arguments: object) -> Program:
        started.append(Program(*arguments))
        return started[-1]

    yield start
    for one in started:
        one.stop(signal.SIGKILL)
