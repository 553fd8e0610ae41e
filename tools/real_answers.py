"""The answers of one network to the same photos: PyTorch's, through torchvision's own transforms, and torchless's, in
every way in which it gives them.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from socket import socket
from typing import Any, TextIO

TORCHLESS = (sys.executable, "-m", "torchless")
BEST, BATCH = 5, 8


@dataclass(frozen=True)
class Answer:
    """The classes of one photo, the most probable first, and their probabilities."""

    classes: tuple[int, ...]
    probabilities: tuple[float, ...]


Answers = dict[str, Answer]
"""By the name of the photo's file."""


def of_pytorch(network: Any, transform: Callable[[Any], Any], photos: list[Path]) -> Answers:
    """`transform` makes of a Pillow image what `network` takes: one photo at a time."""
    import torch
    from PIL import Image

    found = {}
    with torch.inference_mode():
        for photo in photos:
            image = transform(Image.open(photo).convert("RGB"))
            best = network(image[None]).softmax(dim=1)[0].topk(BEST)
            found[photo.name] = Answer(tuple(best.indices.tolist()), tuple(best.values.tolist()))
    return found


def of_infer(model: Path, photos: Path, *flags: str) -> Answers:
    """What `torchless infer` prints for a folder."""
    done = subprocess.run(
        [*TORCHLESS, "infer", model, photos, "--format", "jsonl", "--top-k", str(BEST), *flags],
        check=True, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    return _answers(done.stdout.splitlines())


def of_ray(model: Path, photos: Path, output: Path) -> Answers:
    """What two workers of a Ray cluster on this machine write into the empty or missing folder `output`."""
    flags = ("--engine", "ray", "--workers", "2", "--output", output)
    subprocess.run([*TORCHLESS, "infer", model, photos, "--format", "jsonl", "--top-k", str(BEST), *flags], check=True)
    return _answers(line for part in sorted(output.glob("part-*.jsonl")) for line in part.read_text().splitlines())


def of_server(model: Path, photos: list[Path], log: TextIO) -> Answers:
    """What `torchless serve` answers over HTTP, one request for each photo."""
    with _server(model, log) as connection:
        lines = []
        for photo in photos:
            connection.request("POST", f"/classify?top_k={BEST}", photo.read_bytes())
            row = json.loads(connection.getresponse().read())
            lines.append(json.dumps(row | {"image": photo.name}))
        return _answers(lines)


@contextmanager
def _server(model: Path, log: TextIO) -> Iterator[HTTPConnection]:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    process = subprocess.Popen([*TORCHLESS, "serve", model, "--port", str(port)], stdout=log, stderr=log)
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        while not _answers_requests(connection):
            if process.poll() is not None:
                raise SystemExit(f"the server ended with exit code {process.returncode}; see {log.name}")
            time.sleep(0.1)
        yield connection
    finally:
        connection.close()
        process.terminate()
        process.wait()


def _answers_requests(connection: HTTPConnection) -> bool:
    try:
        connection.request("GET", "/v2/health/ready")
        response = connection.getresponse()
        response.read()
    except ConnectionError:
        connection.close()
        return False
    return response.status == 200


def _answers(lines: Any) -> Answers:
    found = {}
    for row in map(json.loads, lines):
        if row["error"] is not None:
            raise SystemExit(f"{row['image']}: {row['error']}")
        best = row["predictions"]
        found[Path(row["image"]).name] = Answer(
            tuple(one["index"] for one in best), tuple(one["probability"] for one in best)
        )
    return found


def agreement(found: Answers, wanted: Answers) -> dict[str, Any]:
    """Of how many photos the best class is the same, of how many the best five are, in their order, and the largest
    difference between the probabilities of a class. Raises ValueError if they are not of the same photos.
    """
    if found.keys() != wanted.keys():
        raise ValueError(f"not answers to the same photos: {sorted(found.keys() ^ wanted.keys())}")
    pairs = [(found[name], wanted[name]) for name in wanted]
    return {
        "images": len(pairs),
        "top1": sum(one.classes[0] == other.classes[0] for one, other in pairs),
        "top5": sum(one.classes == other.classes for one, other in pairs),
        "probability": max(_difference(one, other) for one, other in pairs),
    }


def _difference(one: Answer, other: Answer) -> float:
    """Of the classes that both have among their best."""
    known = dict(zip(other.classes, other.probabilities, strict=True))
    pairs = zip(one.classes, one.probabilities, strict=True)
    return max((abs(value - known[index]) for index, value in pairs if index in known), default=1.0)
