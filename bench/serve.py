"""`torchless serve` under load, beside other servers of the same networks; and for long.

    python bench/serve.py compare artifacts/resnet18.onnx artifacts/mobilenet_v3_small.onnx > figures/serve.json
    python bench/serve.py soak artifacts/mobilenet_v3_small.onnx --seconds 600 > figures/soak.json

Clients on the loopback send one image after the other, each waiting for its answer (a closed loop), over connections
that stay open. Every answer is checked against the client's own image: the class, and from torchless its probability,
that the Classifier gives for it. Servers take turns, and the median of their rounds counts: torchless and its closest
peer have `--rounds` of them, the others one. `overload` has ten times as many clients as a short queue holds, and
counts refusals. With two models it takes about six minutes.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import uvloop

from run import origin
from torchless import Classifier, Prediction
from torchless.bench import made_up_jpeg
from torchless.cpus import available_cpus

IMAGES, BOUNDARY = 16, "torchlessbench"
CLOSE = "torchless", "litserve-onnxruntime-processes"


@dataclass
class Load:
    """What one load saw. `latencies` in seconds, of answers with status 200."""

    seconds: float
    latencies: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    wrong: int = 0

    def to_dict(self) -> dict[str, Any]:
        ms = np.array(self.latencies or [np.nan]) * 1000
        percentiles = {f"p{p}_ms": round(float(np.percentile(ms, p)), 2) for p in (50, 95, 99)}
        done = round(len(self.latencies) / self.seconds, 1)
        return {
            "requests_per_second": done,
            **percentiles,
            "statuses": dict(self.statuses),
            "wrong_answers": self.wrong,
        }


def as_request(image: bytes) -> bytes:
    """A whole POST /classify with the image in a form, which all servers here take."""
    headers = 'Content-Disposition: form-data; name="image"; filename="a.jpg"\r\nContent-Type: image/jpeg'
    part = f"--{BOUNDARY}\r\n{headers}\r\n\r\n".encode()
    body = part + image + f"\r\n--{BOUNDARY}--\r\n".encode()
    fields = f"Host: localhost\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {len(body)}"
    return f"POST /classify HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body


async def client(
    port: int, number: int, requests: list[bytes], wanted: list[Prediction], end: float, load: Load
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    which = number
    while time.perf_counter() < end:
        which = (which + 1) % len(requests)
        start = time.perf_counter()
        writer.write(requests[which])
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
        body = await reader.readexactly(int(fields[b"content-length"]))
        status = head[9:12].decode()
        load.statuses[status] += 1
        if status == "200":
            load.latencies.append(time.perf_counter() - start)
            load.wrong += not is_right(json.loads(body), wanted[which])
        elif status == "503":
            await asyncio.sleep(0.1)  # a client that obeyed Retry-After would wait longer
        if fields.get(b"connection") == b"close":
            writer.close()
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    writer.close()


def is_right(row: Any, wanted: Prediction) -> bool:
    best = (row[0] if isinstance(row, list) else row)["predictions"][0]
    return (
        best["index"] == wanted.index and abs(best.get("probability", wanted.probability) - wanted.probability) < 1e-3
    )


def put_load(port: int, clients: int, seconds: float, requests: list[bytes], wanted: list[Prediction]) -> Load:
    async def main() -> Load:
        load, start = Load(seconds), time.perf_counter()
        await asyncio.gather(
            *(client(port, number, requests, wanted, start + seconds, load) for number in range(clients))
        )
        load.seconds = time.perf_counter() - start
        return load

    return uvloop.run(main())  # the clients share the processors with the server: they must cost little


@contextmanager
def server(name: str, model: Path, *flags: str) -> Any:
    """Its port and process, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "bench/serve_peers.py", name, str(model), str(port)]
    if name == "torchless":
        command = [
            sys.executable,
            "-m",
            "torchless",
            "serve",
            str(model),
            "--device",
            "cpu",
            "--port",
            str(port),
            *flags,
        ]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(port, "/v2/health/ready" if name == "torchless" else "/docs", process)
        yield port, process
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def wait_for(port: int, path: str, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 180
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.2)
    raise SystemExit(f"the server on port {port} did not start")


def folder_throughput(model: Path, images: list[bytes], seconds: float) -> float:
    """Images a second of `infer` on a folder."""
    results = Classifier(model, device="cpu").classify_many(image for _ in repeat(None) for image in images)
    list(islice(results, 8))
    done, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        list(islice(results, 4))
        done += 4
    return round(done / (time.perf_counter() - start), 1)


def compare(model: Path, concurrencies: list[int], seconds: float, rounds: int, names: list[str]) -> dict[str, Any]:
    images = [made_up_jpeg(seed) for seed in range(IMAGES)]
    wanted = [result.predictions[0] for result in Classifier(model, device="cpu").classify_many(images, top_k=1)]
    requests = [as_request(image) for image in images]
    seen: dict[tuple[str, int], list[dict[str, Any]]] = {
        (name, clients): [] for name in names for clients in concurrencies
    }
    folder, overloaded = [], []
    for turn in range(rounds):
        folder.append(folder_throughput(model, images, seconds))
        for name in names if turn == 0 else [name for name in names if name in CLOSE]:
            with server(name, model, "--max-queue", "512") as (port, _process):
                put_load(port, 4, min(2.0, seconds), requests, wanted)
                for clients in concurrencies:
                    seen[name, clients].append(put_load(port, clients, seconds, requests, wanted).to_dict())
        if turn == 0:
            overloaded.append(overload(model, seconds, requests, wanted))
    rows = [{"server": name, "clients": clients, **median(loads)} for (name, clients), loads in seen.items()]
    return {
        "model": model.stem,
        "different_answers": len(set(wanted)),
        "folder_images_per_second": statistics.median(folder),
        "servers": rows,
        "overload": overloaded[0],
    }


def overload(
    model: Path, seconds: float, requests: list[bytes], wanted: list[Prediction], *, queue: int = 2
) -> dict[str, Any]:
    """A short queue under as many clients as fill it, and under ten times as many."""
    fitting = queue + available_cpus()
    with server("torchless", model, "--max-queue", str(queue)) as (port, _):
        put_load(port, 2, min(2.0, seconds), requests, wanted)
        loads = {
            name: put_load(port, clients, seconds, requests, wanted).to_dict()
            for name, clients in (("alone", 1), ("full", fitting), ("overloaded", 10 * fitting))
        }
    return {"max_queue": queue, "clients_when_full": fitting, **loads}


def median(loads: list[dict[str, Any]]) -> dict[str, Any]:
    """The round of median throughput; statuses and wrong answers of all rounds."""
    middle = sorted(loads, key=lambda load: load["requests_per_second"])[len(loads) // 2]
    statuses: Counter[str] = Counter()
    for load in loads:
        statuses.update(load["statuses"])
    return middle | {"statuses": dict(statuses), "wrong_answers": sum(load["wrong_answers"] for load in loads)}


def soak(model: Path, seconds: float, clients: int) -> dict[str, Any]:
    """Memory (resident, in MB) of the server's processes over time, under constant load."""
    images = [made_up_jpeg(seed) for seed in range(IMAGES)]
    wanted = [result.predictions[0] for result in Classifier(model, device="cpu").classify_many(images, top_k=1)]
    requests = [as_request(image) for image in images]
    with server("torchless", model) as (port, process):
        put_load(port, clients, min(5.0, seconds), requests, wanted)
        memory, statuses, wrong, latencies = [resident_mb(process.pid)], Counter[str](), 0, []
        slices = max(2, int(seconds / 10))
        for _ in range(slices):
            load = put_load(port, clients, seconds / slices, requests, wanted)
            memory.append(resident_mb(process.pid))
            statuses.update(load.statuses)
            wrong += load.wrong
            latencies.append(load.to_dict()["p99_ms"])
    return {
        "model": model.stem, "clients": clients, "seconds": seconds, "statuses": dict(statuses), "wrong_answers": wrong,
        "different_answers": len(set(wanted)), "memory_mb": memory, "p99_ms": latencies,
    }  # fmt: skip


def resident_mb(pid: int) -> float:
    """Of a process and its children; pages that they share count once."""
    return round(sum(proportional_kb(each) for each in (pid, *children(pid))) * 1024 / 1e6, 1)


def proportional_kb(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def children(pid: int) -> set[int]:
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return {int(child) for task in tasks for child in task.read_text().split()}


def main() -> None:
    from serve_peers import PEERS  # with what only they need

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compare", "soak"])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 32, 128])
    parser.add_argument("--servers", nargs="+", default=["torchless", *PEERS])
    given = parser.parse_args()
    measured = origin("fastapi", "litserve", "starlette", "uvicorn")
    if given.what == "soak":
        (model,) = given.models
        measured |= soak(model, given.seconds, given.concurrency[-1])
    else:
        of_models = [
            compare(model, given.concurrency, given.seconds, given.rounds, given.servers) for model in given.models
        ]
        measured |= {"seconds": given.seconds, "rounds": given.rounds, "models": of_models}
    sys.stdout.write(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
