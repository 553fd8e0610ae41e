"""`torchless serve` under load, beside other servers of the same networks; and for long.

    python bench/serve.py compare artifacts/resnet18.onnx artifacts/mobilenet_v3_small.onnx > figures/serve.json
    python bench/serve.py compare artifacts/mobilenet_v3_small.onnx --quick        the closest peer alone; two minutes
    python bench/serve.py soak artifacts/mobilenet_v3_small.onnx --seconds 600 > figures/soak.json

Clients (bench/clients.py) on the loopback send one image after the other, and check every answer: the class, and from
torchless its probability, that the Classifier gives for it. In each round each server has its turn, with all others
stopped, after `infer` had its own on a folder; rates are compared within a round, and the median of the rounds counts.
`overload` has ten times as many clients as a short queue holds, and counts refusals. With two models it takes about
ten minutes.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import islice, repeat
from pathlib import Path
from statistics import median
from typing import Any

from clients import Load, as_request, put_load
from run import origin
from torchless import Classifier, Prediction
from torchless.bench import made_up_jpeg
from torchless.cpus import available_cpus

IMAGES = 16
QUICK = "torchless", "litserve-onnxruntime-processes"
OWN = {  # torchless, by default and otherwise
    "torchless": [],
    "torchless-threads": ["--processes", "0"],
    "torchless-workers": ["--workers", str(available_cpus())],
}


@contextmanager
def server(name: str, model: Path, *flags: str) -> Any:
    """Its port and process, once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "bench/serve_peers.py", name, str(model), str(port)]
    if name in OWN:
        flags = ("--device", "cpu", "--port", str(port), *OWN[name], *flags)
        command = [sys.executable, "-m", "torchless", "serve", str(model), *flags]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        wait_for(port, "/v2/health/ready" if name in OWN else "/docs", process)
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
    seen: dict[tuple[str, int], list[dict[str, Any]]] = {(name, few): [] for name in names for few in concurrencies}
    folder = []
    with ExitStack() as stack:
        servers = {name: stack.enter_context(stopped(name, model)) for name in names}
        for _ in range(rounds):
            folder.append(folder_throughput(model, images, seconds))
            for name, (port, process) in servers.items():
                with going(process):
                    put_load(port, 4, min(1.0, seconds), requests, wanted)
                    for few in concurrencies:
                        before = processor_s(process.pid)
                        load = put_load(port, few, seconds, requests, wanted)
                        seen[name, few].append(row(load, folder[-1], processor_s(process.pid) - before))
    rows = [{"server": name, "clients": few, **middle(loads)} for (name, few), loads in seen.items()]
    for one in rows:
        pairs = zip(seen["torchless", one["clients"]], seen[one["server"], one["clients"]], strict=True)
        one["torchless_ratio"] = median_of(a["requests_per_second"] / b["requests_per_second"] for a, b in pairs)
    return {
        "model": model.stem,
        "different_answers": len(set(wanted)),
        "folder_images_per_second": round(median(folder), 1),
        "servers": rows,
        "overload": overload(model, seconds, requests, wanted),
    }


@contextmanager
def stopped(name: str, model: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]"]]:
    """A server that has started, and that runs only while it is `going`, so that it costs the others nothing."""
    with server(name, model, *(["--max-queue", "512"] if name in OWN else [])) as (port, process):
        os.killpg(process.pid, signal.SIGSTOP)
        try:
            yield port, process
        finally:
            os.killpg(process.pid, signal.SIGCONT)


@contextmanager
def going(process: "subprocess.Popen[bytes]") -> Iterator[None]:
    os.killpg(process.pid, signal.SIGCONT)
    yield
    os.killpg(process.pid, signal.SIGSTOP)


def row(load: Load, folder: float, processor: float) -> dict[str, Any]:
    """What one load saw, of the folder's rate in the same round, and the server's processor time for a request."""
    used = {"of_folder": round(load.rate / folder, 3), "processor_ms": round(processor / len(load.latencies) * 1000, 2)}
    return load.to_dict() | used


def processor_s(group: int) -> float:
    """Of all threads of the processes of a group so far, in seconds."""
    return sum(_thread_s(thread) for pid in members(group) for thread in Path(f"/proc/{pid}/task").iterdir())


def _thread_s(thread: Path) -> float:
    try:
        return int((thread / "schedstat").read_text().split()[0]) / 1e9
    except OSError:  # it has ended
        return 0.0


def members(group: int) -> list[int]:
    return [int(one.name) for one in Path("/proc").iterdir() if one.name.isdigit() and _group(int(one.name)) == group]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return -1


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


def middle(loads: list[dict[str, Any]]) -> dict[str, Any]:
    """The round of median throughput; medians of what is compared within a round; statuses and wrong answers of all
    rounds.
    """
    one = sorted(loads, key=lambda load: load["requests_per_second"])[len(loads) // 2]
    statuses: Counter[str] = Counter()
    for load in loads:
        statuses.update(load["statuses"])
    medians = {name: median_of(load[name] for load in loads) for name in ("of_folder", "processor_ms")}
    rates = [load["requests_per_second"] for load in loads]
    wrong = sum(load["wrong_answers"] for load in loads)
    return one | medians | {"rates": rates, "statuses": dict(statuses), "wrong_answers": wrong}


def median_of(values: Iterable[float]) -> float:
    return round(median(values), 3)


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


def resident_mb(group: int) -> float:
    """Of a server's processes; pages that they share count once."""
    return round(sum(proportional_kb(pid) for pid in members(group)) * 1024 / 1e6, 1)


def proportional_kb(pid: int) -> int:
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))


def main() -> None:
    from serve_peers import PEERS  # with what only they need

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["compare", "soak"])
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 4, 32, 128])
    parser.add_argument("--servers", nargs="+", default=[*OWN, *PEERS])
    parser.add_argument("--quick", action="store_true", help=f"only {' and '.join(QUICK)}")
    given = parser.parse_args()
    names = list(QUICK) if given.quick else given.servers
    measured = origin("fastapi", "litserve", "starlette", "uvicorn")
    if given.what == "soak":
        (model,) = given.models
        measured |= soak(model, given.seconds, given.concurrency[-1])
    else:
        of_models = [compare(model, given.concurrency, given.seconds, given.rounds, names) for model in given.models]
        measured |= {"seconds": given.seconds, "rounds": given.rounds, "models": of_models}
    sys.stdout.write(json.dumps(measured, indent=1) + "\n")


if __name__ == "__main__":
    main()
