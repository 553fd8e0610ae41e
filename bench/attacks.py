"""What the users of a server with keys notice while somebody attacks it.

    python bench/attacks.py artifacts/mobilenet_v3_small.onnx > figures/attacks.json    (make attack: four minutes)

Everything stays on the loopback of this machine. For each attack a server of its own runs on one processor; its users,
and the attackers, on the others. The users send real JPEG files at a steady rate, over connections that stay open or
are made again, and check that each is answered; first undisturbed, then while the attack goes on. Each attack is
limited in time, in connections and in requests a second.
"""

import argparse
import asyncio
import json
import multiprocessing
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from run import origin
from torchless.bench import made_up_jpeg
from torchless.cpus import available_cpus

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
KEY, OTHER = "the-users-own-key-of-the-bench", "other"
MEMORY_BOUND_MB, DATA_LIMIT = 1500, 4 << 30
USERS, PAUSE_S = 4, 0.2  # each sends an image, waits for its answer, and then this long
MOST_A_SECOND = 200  # connections or requests of one attacker
MB = 10**6
SERVER_FLAGS = ("--api-key-file", "keys", "--allow-model-control", "--device", "cpu", "--port", "0")


@dataclass
class Seen:
    """What the users of the server saw. `latencies` in seconds."""

    latencies: list[float] = field(default_factory=list)
    other: Counter[str] = field(default_factory=Counter)

    def to_dict(self, seconds: float) -> dict[str, Any]:
        ms = np.array(self.latencies or [np.nan]) * 1000
        return {
            "answers_per_second": round(len(self.latencies) / seconds, 2),
            "p50_ms": round(float(np.percentile(ms, 50)), 1),
            "p99_ms": round(float(np.percentile(ms, 99)), 1),
            "other": dict(self.other),
        }


def head(path: str, length: int | None, *, key: str | None = KEY, kind: str = "image/jpeg") -> bytes:
    """The head of a POST; the body is chunked if it has no length."""
    body = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    secret = f"Authorization: Bearer {key}\r\n" if key else ""
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{secret}Content-Type: {kind}\r\n{body}\r\n\r\n".encode()


class Client:
    """One user's connection, made again when the server closes it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, request: bytes) -> tuple[str, bool]:
        """The status, and whether the connection was new."""
        new = self._streams is None
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 20)
        reader, writer = self._streams
        try:
            writer.write(request)
            top = await reader.readuntil(b"\r\n\r\n")
            fields = dict(line.lower().split(b": ", 1) for line in top.split(b"\r\n")[1:] if line)
            await reader.readexactly(int(fields[b"content-length"]))
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            raise
        if fields.get(b"connection") == b"close":
            self.close()
        return top[9:12].decode(), new

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


async def user(port: int, number: int, end: float, requests: list[bytes], seen: Seen) -> None:
    client = Client(port)
    await asyncio.sleep(number * PAUSE_S / USERS)
    while time.perf_counter() < end:
        number += 1
        start = time.perf_counter()
        try:
            async with asyncio.timeout(30):
                try:
                    status, _ = await client.ask(requests[number % len(requests)])
                except (OSError, asyncio.IncompleteReadError):  # an idle connection that was closed: once more
                    status, _ = await client.ask(requests[number % len(requests)])
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            status = type(error).__name__
        if status == "200":
            seen.latencies.append(time.perf_counter() - start)
        else:
            seen.other[status] += 1
        await asyncio.sleep(PAUSE_S)
    client.close()


def use(port: int, seconds: float, requests: list[bytes]) -> Seen:
    async def main() -> Seen:
        seen, end = Seen(), time.perf_counter() + seconds
        await asyncio.gather(*(user(port, number, end, requests, seen) for number in range(USERS)))
        return seen

    return asyncio.run(main())


class Attacker:
    """What attacks share: connections that are counted, and limited in number a second."""

    def __init__(self, port: int, end: float) -> None:
        self.port, self.end = port, end
        self.counts: Counter[str] = Counter()

    def goes_on(self) -> bool:
        return time.monotonic() < self.end

    async def talk(self, *parts: bytes, each_s: float = 0.0, read: bool = True) -> None:
        """One connection: sends the parts, and counts the status of the answer, or how it ended."""
        self.counts["connections"] += 1
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            self.counts["refused"] += 1
            return
        outcome = "closed"
        with suppress(OSError):
            for part in parts:
                if reader.at_eof() or not self.goes_on():
                    break
                writer.write(part)
                self.counts["bytes"] += len(part)
                await writer.drain()
                await asyncio.sleep(each_s)
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(max(0.01, self.end - time.monotonic())):
                if top := await reader.read(1 << 16 if read else 1):
                    outcome = top[9:12].decode(errors="replace")
        self.counts[outcome] += 1
        writer.close()

    async def repeat(self, parts: Callable[[], tuple[bytes, ...]], *, senders: int = 1, each_s: float = 0.0) -> None:
        """So many senders talk again and again."""

        async def sender() -> None:
            while self.goes_on():
                await self.talk(*parts(), each_s=each_s)
                await asyncio.sleep(senders / MOST_A_SECOND)

        await asyncio.gather(*(sender() for _ in range(senders)))


GET = b"GET /v2/health/live HTTP/1.1\r\nHost: localhost\r\n"
Attack = Callable[[Attacker], Awaitable[None]]


async def endless_header(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (GET + b"X: ", *[b"x" * 65536] * 64))


async def small_headers(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (GET, *[b"a: b\r\n" * 10_000] * 750))


async def trailers(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (head("/classify", None), b"1\r\nx\r\n0\r\n", *[b"a: b\r\n" * 10_000] * 2000))


async def scan_bombs(attacker: Attacker) -> None:
    from tests.runtime.image.bombs import jpeg

    bomb = jpeg(7000, 7000, 5280)
    await attacker.repeat(lambda: (head("/classify", len(bomb)) + bomb,), senders=2)


async def largest_images(attacker: Attacker) -> None:
    from tests.runtime.image.bombs import jpeg

    image = jpeg(7000, 7000, 8)
    await attacker.repeat(lambda: (head("/classify", len(image)) + image,))


async def empty_parts(attacker: Attacker) -> None:
    body = b"--b\r\n\r\n\r\n" * (30 * MB // 9) + b"--b--\r\n"
    request = head("/classify", len(body), kind="multipart/form-data; boundary=b") + body
    await attacker.repeat(lambda: (request,))


async def nested_json(attacker: Attacker) -> None:
    data = b"[" * 500 + b"0" + b"]" * 500
    data = b"[" + b",".join([data] * 30_000) + b"]"
    body = b'{"inputs":[{"name":"input","datatype":"FP32","shape":[1,3,224,224],"data":' + data + b"}]}"
    request = head(f"/v2/models/{OTHER}/infer", len(body), kind="application/json") + body
    await attacker.repeat(lambda: (request,))


async def announced_bodies(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (head("/classify", 32 * MB), b""), senders=16)


async def one_byte_chunks(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (head("/classify", None), *[b"1\r\nx\r\n" * 1000] * 1000), senders=8)


async def busy_model(attacker: Attacker) -> None:
    image = made_up_jpeg(99)
    request = head(f"/classify?model={OTHER}", len(image)) + image

    async def client() -> None:
        connection = Client(attacker.port)
        while attacker.goes_on():
            try:
                status, new = await connection.ask(request)
            except (OSError, asyncio.IncompleteReadError):
                status, new = "closed", False
            attacker.counts[status] += 1
            attacker.counts["connections"] += new
            if status != "200":
                await asyncio.sleep(1)  # as Retry-After says
        connection.close()

    _, pending = await asyncio.wait(
        [asyncio.ensure_future(client()) for _ in range(400)], timeout=attacker.end - time.monotonic()
    )
    for task in pending:
        task.cancel()


async def model_loads(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (head(f"/v2/repository/models/{OTHER}/load", 0),), senders=8)


async def idle_connections(attacker: Attacker) -> None:
    await attacker.repeat(lambda: (b"",), senders=400)


@dataclass(frozen=True)
class Kind:
    """An attack, the issue's number for it, and whether the server may open only 256 files."""

    item: int
    attack: Attack
    what: str
    few_files: bool = False


KINDS = (
    Kind(1, endless_header, "an endless header, without a key"),
    Kind(1, small_headers, "small headers without end, without a key"),
    Kind(1, trailers, "trailers without end"),
    Kind(2, scan_bombs, "JPEG files of 49 megapixels with 5,280 scans"),
    Kind(2, largest_images, "the largest JPEG files that are accepted: 49 megapixels, 8 scans"),
    Kind(4, empty_parts, "forms of 3 million empty parts"),
    Kind(4, nested_json, "30 MB of nested JSON lists"),
    Kind(8, announced_bodies, "16 bodies of 32 MB that are announced and do not come"),
    Kind(15, one_byte_chunks, "8 senders of chunks of one byte"),
    Kind(15, busy_model, "400 clients of another model"),
    Kind(15, model_loads, "8 clients that load another model again and again"),
    Kind(16, idle_connections, "400 idle connections, where 256 files may be open", few_files=True),
)


def attack_in_process(name: str, port: int, seconds: float, processors: list[int], out: Any) -> None:
    os.sched_setaffinity(0, processors)
    os.nice(5)
    attacker = Attacker(port, time.monotonic() + seconds)
    kind = next(kind for kind in KINDS if kind.attack.__name__ == name)
    asyncio.run(kind.attack(attacker))  # type: ignore[arg-type]
    out.send(dict(attacker.counts))


@contextmanager
def server(folder: Path, processors: list[int], *, few_files: bool) -> Iterator[tuple[int, int]]:
    """Its port and process id, once it is ready."""

    def limit() -> None:
        os.sched_setaffinity(0, processors)
        resource.setrlimit(resource.RLIMIT_DATA, (DATA_LIMIT, DATA_LIMIT))
        if few_files:
            resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

    command = [sys.executable, "-m", "torchless", "serve", "users.onnx", f"{OTHER}.onnx", *SERVER_FLAGS]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdout=log,
            stderr=log,
            preexec_fn=limit,  # noqa: PLW1509 - this program has one thread
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
    try:
        port = _port(folder / "log", process)
        while not _is_ready(port):
            time.sleep(0.05)
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port(log: Path, process: "subprocess.Popen[bytes]") -> int:
    while process.poll() is None:
        for line in log.read_text().splitlines():
            if "listening on http://127.0.0.1:" in line:
                return int(line.rpartition(":")[2])
        time.sleep(0.05)
    raise SystemExit(f"the server did not start: {log.read_text()}")


def _is_ready(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return connection.recv(100).startswith(b"HTTP/1.1 200 ")


def peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return round(next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024 / MB, 1)


def measure(kind: Kind, folder: Path, seconds: float, requests: list[bytes]) -> dict[str, Any]:
    """One row: undisturbed, then attacked."""
    own, rest = processors()
    with server(folder, own, few_files=kind.few_files) as (port, pid):
        use(port, 1.0, requests)
        before = use(port, seconds, requests).to_dict(seconds)
        receiver, sender = multiprocessing.Pipe(duplex=False)
        name = kind.attack.__name__
        attacker = multiprocessing.Process(
            target=attack_in_process, args=(name, port, seconds + 1.0, rest, sender), daemon=True
        )
        attacker.start()
        time.sleep(0.5)
        during = use(port, seconds, requests).to_dict(seconds)
        counts = receiver.recv() if receiver.poll(20) else {}
        attacker.kill()
        attacker.join()
        peak = peak_mb(pid)
    return {
        "item": kind.item, "name": name, "what": kind.what, "undisturbed": before, "attacked": during,
        "attacker": counts, "peak_mb": peak,
        "share": round(during["answers_per_second"] / before["answers_per_second"], 2),
        "p99_times": round(during["p99_ms"] / before["p99_ms"], 1),
    }  # fmt: skip


def processors() -> tuple[list[int], list[int]]:
    """Those of the server, and those of its users and attackers: the same where there is only one."""
    first, *others = sorted(os.sched_getaffinity(0))
    return [first], others or [first]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--only", nargs="+", choices=[kind.attack.__name__ for kind in KINDS])
    given = parser.parse_args()
    seconds = min(given.seconds, 20.0)
    requests = [head("/classify", len(image)) + image for image in map(made_up_jpeg, range(8))]
    rows = []
    with tempfile.TemporaryDirectory(prefix="torchless-attacks-") as name:
        folder = Path(name)
        (folder / "keys").write_text(KEY)
        for model in ("users", OTHER):
            shutil.copyfile(given.model, folder / f"{model}.onnx")
        os.sched_setaffinity(0, processors()[1])
        for kind in KINDS:
            if not given.only or kind.attack.__name__ in given.only:
                rows.append(measure(kind, folder, seconds, requests))
                row = rows[-1]
                sys.stderr.write(
                    f"{row['what']}: {row['share']} × answers, {row['p99_times']} × p99, {row['peak_mb']} MB\n"
                )
    measured = origin("starlette", "uvicorn") | {"model": given.model.stem, "seconds": seconds, "rows": rows}
    measured |= {"users": USERS, "memory_bound_mb": MEMORY_BOUND_MB, "processors": available_cpus()}
    sys.stdout.write(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
