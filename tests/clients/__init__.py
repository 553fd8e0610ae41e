"""Other people's clients, each in an environment of its own, against a real server: `make clients` writes the matrix in
docs/serving.md, and a slow test runs the same.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import skimage

from tests.server_process import ServerProcess
from torchless import Classifier

HERE = Path(__file__).parent
# What of them pip is to install. tritonclient's own extras pin older versions of grpcio and protobuf than ours.
PACKAGES = {"kserve": ["kserve==0.21.0"], "tritonclient": ["tritonclient[http,grpc]==2.67.0"]}
PHOTOS = ("coffee.png", "rocket.jpg", "camera.png")


@dataclass(frozen=True)
class Given:
    """What a client's script is told: addresses, images, the tensor that they become, and the logits they must give."""

    http: str
    grpc: str
    images: list[str]
    tensor: str
    logits: list[list[float]]


@contextmanager
def serving(model: Path, folder: Path) -> Iterator[Given]:
    """`torchless serve` with both protocols."""
    command = [sys.executable, "-m", "torchless", "serve", model, "--port", "0", "--grpc-port", "0", "--device", "cpu"]
    started = ServerProcess(command)
    try:
        grpc = started.await_log(r"listening on grpc://(\S+)\n")[1]
        yield given(model, folder, http=started.url.removeprefix("http://"), grpc=grpc)
    finally:
        started.stop()


def given(model: Path, folder: Path, *, http: str, grpc: str) -> Given:
    """For a server at these addresses."""
    classifier = Classifier(model, device="cpu")
    images = [str(Path(skimage.data_dir) / name) for name in PHOTOS]
    batch = np.stack([classifier.preprocess(image) for image in images])
    np.save(folder / "batch.npy", batch)
    return Given(http, grpc, images, str(folder / "batch.npy"), classifier.run(batch).tolist())


def run_client(name: str, run: Callable[..., str], about: Given) -> dict[str, Any]:
    """The client's rows: {"versions": …, "clients": {client: {call: "" or what went wrong}}}. `run` runs the
    environment's Python with arguments, and returns what it prints.
    """
    found: dict[str, Any] = json.loads(run(HERE / f"{name}_calls.py", json.dumps(asdict(about))).splitlines()[-1])
    return found


def failures(rows: list[dict[str, Any]]) -> list[str]:
    """The calls that did not work, with the reason."""
    return [
        f"{client}: {call}: {why}"
        for row in rows
        for client, calls in row["clients"].items()
        for call, why in calls.items()
        if why
    ]
