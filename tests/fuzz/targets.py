"""What is fuzzed. A target makes an input from a seeded generator, and runs it through the product.

`run` gives the outcome in a word: "result", an HTTP status, or the class of the error that the user would read.
Whatever else is raised, is a finding.
"""

import io
import json
import logging
import math
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random
from typing import Any, Protocol
from unittest.mock import patch

from tests.fuzz import images, labels, models, requests
from tests.surroundings import PATIENCE_S

from torchless.cli.start import infer_main
from torchless.engine.classifier import Classifier
from torchless.engine.options import ModelOptions
from torchless.engine.results import Result
from torchless.errors import ArtifactError, ImageError, InferenceError, TorchlessError, UsageError
from torchless.image.options import ImageOptions
from torchless.model.inspection import inspect_model
from torchless.model.labels import check_label_count, read_labels

MEBI = 1 << 20
RESULT = "result"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Finding(Exception):
    """The product did what it should not."""


class Target(Protocol):
    """`folder` is the target's own, and its working directory; `model` is a small artifact.

    `memory_bytes` is how much more than before one input may take at most. `pid` is the process that is watched for it.
    """

    memory_bytes: int
    pid: int

    def make(self, random: Random) -> bytes: ...

    def run(self, data: bytes) -> str: ...

    def close(self) -> None: ...


class _Base:
    memory_bytes = 1024 * MEBI

    def __init__(self, folder: Path, model: Path) -> None:
        self.folder, self.model, self.pid = folder, model, os.getpid()

    def close(self) -> None:
        pass


class Decoding(_Base):
    """Images through Classifier, both ways of decoding."""

    def __init__(self, folder: Path, model: Path) -> None:
        super().__init__(folder, model)
        self._classifiers = [
            Classifier(model, device="cpu", threads=1, image_options=ImageOptions(decode=decode))
            for decode in ("exact", "fast")
        ]

    def make(self, random: Random) -> bytes:
        return images.mutated_image(random)

    def run(self, data: bytes) -> str:
        exact, fast = (self._outcome(classifier, data) for classifier in self._classifiers)
        if (exact == RESULT) != (fast == RESULT):
            raise Finding(f"exact decoding: {exact}, fast decoding: {fast}")
        return exact

    @staticmethod
    def _outcome(classifier: Classifier, data: bytes) -> str:
        try:
            return _checked(classifier.classify(data, top_k=5))
        except (ImageError, InferenceError) as error:
            return _named(error)


class Infer(_Base):
    """Image files through the command line, a good one after each: every file has its row, and the exit code says
    whether one failed.
    """

    def __init__(self, folder: Path, model: Path) -> None:
        super().__init__(folder, model)
        (folder / "good.jpg").write_bytes(images.seeds()["JPEG"][0])

    def make(self, random: Random) -> bytes:
        return images.mutated_image(random)

    def run(self, data: bytes) -> str:
        (self.folder / "case").write_bytes(data)
        code, out, err = _command(
            infer_main, "infer", self.model, "case", "good.jpg", "-f", "jsonl", "-d", "cpu", "--workers", 1
        )
        rows = [Result.from_json(line) for line in out.splitlines()]
        told = 1 + (rows[0].warning is not None) + (not rows[0].ok) if rows else 0  # the last line sums up
        if [row.image for row in rows] != ["case", "good.jpg"] or code != int(not rows[0].ok) or err.count("\n") > told:
            raise Finding(f"exit code {code}, {out!r}, {err!r}")
        _checked(rows[1])
        return _checked(rows[0]) if rows[0].ok else "row with an error"


class Manifests(_Base):
    """An artifact with another manifest: inspected, and opened."""

    def make(self, random: Random) -> bytes:
        return models.mutated_manifest(random, self.model.read_bytes())

    def run(self, data: bytes) -> str:
        path = self.folder / "case.onnx"
        path.write_bytes(models.with_manifest(self.model.read_bytes(), data))
        return _use(path)


class Models(_Base):
    """ONNX files: inspected, opened, and run."""

    memory_bytes = 2048 * MEBI

    def __init__(self, folder: Path, model: Path) -> None:
        super().__init__(folder, model)
        models.surroundings(folder)

    def make(self, random: Random) -> bytes:
        return models.mutated_model(random, self.model.read_bytes())

    def run(self, data: bytes) -> str:
        path = self.folder / "model" / "case.onnx"
        path.write_bytes(data)
        outcome = _use(path)
        if outcome == RESULT and (taken := models.foreign_data(data)):
            raise Finding(f"it took weights from {taken}")
        return outcome


class Checkpoints(_Base):
    """Checkpoints through what `torchless export --checkpoint` does before it converts."""

    memory_bytes = 2048 * MEBI

    def __init__(self, folder: Path, model: Path) -> None:
        super().__init__(folder, model)
        from torchless_export.sources.load import load

        self._load = load  # imported now, so that the first input takes no longer than the others

    def make(self, random: Random) -> bytes:
        from tests.fuzz.checkpoints import mutated_checkpoint

        data, suffix = mutated_checkpoint(random)
        return suffix.encode() + b"\n" + data

    def run(self, data: bytes) -> str:
        from tests.fuzz.checkpoints import MARKER

        from torchless_export.sources.request import ModelRequest

        suffix, _, content = data.partition(b"\n")
        path = self.folder / f"case{suffix.decode()}"
        path.write_bytes(content)
        try:
            self._load(ModelRequest(model="tiny", builder="tests.models:tiny", checkpoint=path))
            return RESULT
        except TorchlessError as error:
            return _named(error)
        finally:
            if Path(MARKER).exists():
                Path(MARKER).unlink()
                raise Finding("code in the checkpoint was run")


class Labels(_Base):
    """Label files for a model of five classes."""

    def make(self, random: Random) -> bytes:
        return labels.mutated_labels(random)

    def run(self, data: bytes) -> str:
        path = self.folder / "labels.txt"
        path.write_bytes(data)
        try:
            found = check_label_count(read_labels(path), 5, f"labels file {path}")
        except UsageError as error:
            return _named(error)
        if any(
            not label.strip() or label != label.strip() or "\n" in label or label.startswith("\ufeff")
            for label in found
        ):
            raise Finding(f"labels that are none: {found!r}")
        return RESULT


class Requests(_Base):
    """Requests to a server in this process; what it logs of its own defects is a finding."""

    def __init__(self, folder: Path, model: Path) -> None:
        from tests.runtime.serve.conftest import Running

        from torchless.serve.settings import Settings

        super().__init__(folder, model)
        (folder / "tiny.onnx").write_bytes(model.read_bytes())
        self._log = io.StringIO()
        logging.getLogger("torchless.serve").addHandler(logging.StreamHandler(self._log))
        logging.getLogger("uvicorn").addHandler(logging.StreamHandler(self._log))
        self._server = Running(
            Settings(
                models=(folder / "tiny.onnx",),
                port=0,
                opening=ModelOptions(device="cpu"),
                drain_delay_s=0,
                body_timeout_s=0.1,
                header_timeout_s=0.1,
            )
        )
        self._address = self._server.listener.getsockname()

    def make(self, random: Random) -> bytes:
        return requests.mutated_request(random)

    def run(self, data: bytes) -> str:
        outcome = _http_outcome(_ask(self._address, data))
        said = self._log.getvalue()
        self._log.seek(0)
        self._log.truncate()
        if "Traceback" in said:
            raise Finding(said)
        return outcome

    def close(self) -> None:
        self._server.close()


class Server(_Base):
    """Requests to `torchless serve` as a process of its own, which must live on."""

    def __init__(self, folder: Path, model: Path) -> None:
        super().__init__(folder, model)
        (folder / "tiny.onnx").write_bytes(model.read_bytes())
        command = [
            sys.executable,
            "-m",
            "torchless",
            "serve",
            "tiny.onnx",
            "--port",
            "0",
            "-d",
            "cpu",
            "--body-timeout-s",
            "0.1",
        ]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [*command, "--header-timeout-s", "0.1"], cwd=folder, stdout=log, stderr=log
            )
        self.pid, self._seen = self._process.pid, 0
        self._address = ("127.0.0.1", self._port())

    def make(self, random: Random) -> bytes:
        return requests.mutated_request(random)

    def run(self, data: bytes) -> str:
        outcome = _http_outcome(_ask(self._address, data))
        if self._process.poll() is not None:
            raise Finding(f"the server ended with exit code {self._process.returncode}: {self._new_log()}")
        if "Traceback" in (said := self._new_log()):
            raise Finding(said)
        return outcome

    def close(self) -> None:
        self._process.terminate()
        if (code := self._process.wait(PATIENCE_S)) != 0:
            raise Finding(f"the server ended with exit code {code}")

    def _port(self) -> int:
        log = ""
        while (found := re.search(r"listening on http://127.0.0.1:(\d+)", log)) is None:
            if self._process.poll() is not None:
                raise Finding(f"the server did not start: {log}")
            log += self._new_log()
        return int(found[1])

    def _new_log(self) -> str:
        with (self.folder / "log").open("rb") as log:
            log.seek(self._seen)
            new = log.read()
        self._seen += len(new)
        return new.decode(errors="replace")


TARGETS: dict[str, Callable[[Path, Path], Target]] = {
    "classifier": Decoding,
    "infer": Infer,
    "http": Requests,
    "server": Server,
    "manifests": Manifests,
    "models": Models,
    "checkpoints": Checkpoints,
    "labels": Labels,
}


def _use(path: Path) -> str:
    """What `torchless inspect` and `infer` make of a model file."""
    try:
        json.dumps(inspect_model(path).to_dict())
        classifier = Classifier(path, device="cpu", threads=1)
        return _checked(classifier.classify(images.seeds()["PNG"][0]))
    except (ArtifactError, ImageError, InferenceError) as error:
        return _named(error)


def _checked(result: Result) -> str:
    probabilities = [prediction.probability for prediction in result.predictions]
    if not result.ok or not probabilities or not all(math.isfinite(value) for value in probabilities):
        raise Finding(f"no answer: {result}")
    return RESULT


def _named(error: TorchlessError) -> str:
    """A message is for people: it says something, on a line or two."""
    text = str(error)
    if not text.strip() or "Traceback" in text or len(text) > 20_000:
        raise Finding(f"{type(error).__name__} says {text[:1000]!r}")
    return type(error).__name__


def _command(program: Callable[[], None], *arguments: object) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with (
        patch.object(sys, "argv", [str(argument) for argument in arguments]),
        redirect_stdout(out),
        redirect_stderr(err),
    ):
        try:
            program()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return code, out.getvalue(), err.getvalue()


def _ask(address: Any, request: bytes) -> bytes:
    """All that the server answers until it closes the connection, or the first answer is whole."""
    answer = b""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        try:
            connection.sendall(request)
            while chunk := connection.recv(1 << 16):
                answer += chunk
                head, end, body = answer.removeprefix(_CONTINUE).partition(b"\r\n\r\n")
                length = re.search(rb"content-length: (\d+)", head)
                if end and length and (len(body) >= int(length[1]) or request.startswith(b"HEAD ")):
                    break
        except ConnectionError:  # it answers, and reads no further
            pass
    return answer


def _http_outcome(answer: bytes) -> str:
    answer = answer.removeprefix(_CONTINUE)
    status = re.match(rb"HTTP/1.1 (\d\d\d) ", answer)
    if status is None:
        if answer:
            raise Finding(f"no HTTP: {answer[:200]!r}")
        return "cut off"
    body = answer.partition(b"\r\n\r\n")[2]
    if b"Traceback" in body or (
        status[1][:1] == b"5" and status[1] not in (b"503", b"504") and b"contains NaN or infinity" not in body
    ):
        raise Finding(f"{answer[:1000]!r}")
    return status[1].decode()
