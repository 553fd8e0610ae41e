"""docs/serving.md: the server under load beside others, overloaded, and for many minutes; docs/performance.md: its
other ways of using processors.
"""

from collections import Counter

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured

NAMES = {
    "torchless": "torchless",
    "torchless-threads": "threads of the server, `--processes 0`",
    "torchless-workers": "a whole server for each processor, `--workers`",
    "fastapi-torch": "FastAPI, PyTorch",
    "litserve-torch": "LitServe, PyTorch",
    "litserve-onnxruntime": "LitServe, ONNX Runtime",
    "litserve-onnxruntime-processes": "LitServe, ONNX Runtime, a process for each processor",
}
OWN = "torchless", "torchless-threads", "torchless-workers"


def load(found: Row) -> str:
    """A table for each model, and where they were measured."""
    return "\n\n".join([*map(of_model, found["models"]), conditions(found)])


def conditions(load: Row) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in load["versions"].items())
    rounds = f", the median of {load['rounds']} rounds" * (load["rounds"] > 1)
    return f"{load['seconds']:g} s for each load{rounds}. {measured(load)} {versions}."


def of_model(found: Row) -> str:
    """Images a second and p99 of each server by clients."""
    clients = sorted({row["clients"] for row in found["servers"]})
    by_server: dict[str, dict[int, Row]] = {}
    for row in found["servers"]:
        if row["server"] not in OWN[1:]:
            by_server.setdefault(row["server"], {})[row["clients"]] = row
    cells = (
        (NAMES[name], *(f"{rows[n]['requests_per_second']:.0f} ({rows[n]['p99_ms']:.0f} ms)" for n in clients))
        for name, rows in by_server.items()
    )
    shares = ", ".join(f"{ratio(found, name, 32):.2f} × {NAMES[name]}" for name in by_server if name not in OWN)
    rates = {n: row["requests_per_second"] for n, row in by_server["torchless"].items()}
    own = of_folder(found, 32)
    folder = f"{own:.2f} × what `infer` does on a folder ({found['folder_images_per_second']:.0f} images/s)"
    if 4 in rates:
        folder += (
            f"; {rates[32] / rates[4]:.2f} × its own rate with 4 clients, and {rates[128] / rates[4]:.2f} × with 128"
        )
    used = {name: rows[32]["processor_ms"] for name, rows in by_server.items() if "processor_ms" in rows[32]}
    spent = ", ".join(f"{ms:.1f} ms {NAMES[name]}" for name, ms in used.items() if name not in OWN)
    if spent:
        folder += f". A request takes {used['torchless']:.1f} ms of a processor, against {spent}"
    head = table([f"{found['model']}: requests/s (p99)", *(f"{n} client{'s' * (n > 1)}" for n in clients)], cells)
    return f"{head}\n\nWith 32 clients: {shares}; {folder}."


def ratio(found: Row, peer: str, clients: int) -> float:
    """How many times a peer's throughput torchless has."""
    rows = {row["server"]: row for row in found["servers"] if row["clients"] == clients}
    whole = rows["torchless"]["requests_per_second"] / rows[peer]["requests_per_second"]
    return float(rows[peer].get("torchless_ratio", whole))  # the median of what it was in each round


def of_folder(found: Row, clients: int) -> float:
    """Which part of the throughput of `infer` on a folder torchless has."""
    (row,) = (row for row in found["servers"] if (row["server"], row["clients"]) == ("torchless", clients))
    return float(row.get("of_folder", row["requests_per_second"] / found["folder_images_per_second"]))


def tried(load: Row) -> str:
    """What torchless's other ways do of the default's requests/s, and at what cost, with 32 clients."""
    lines = [
        f"  - {NAMES[name]}: {'; '.join(texts)}."
        for name in OWN[1:]
        if (texts := [_of_way(found, name) for found in load["models"] if _rows(found, name)])
    ]
    return "\n".join([*lines, "", f"  {measured(load)}"]) if lines else "  - Not measured yet: `make bench-serve`."


def _of_way(found: Row, name: str) -> str:
    (row,), (own,) = _rows(found, name), _rows(found, "torchless")
    return (
        f"{1 / row['torchless_ratio']:.2f} × the default's requests/s with {found['model']}, "
        f"{row['processor_ms']:.1f} ms of a processor for a request against {own['processor_ms']:.1f}"
    )


def _rows(found: Row, name: str) -> list[Row]:
    return [row for row in found["servers"] if (row["server"], row["clients"]) == (name, 32)]


def overload(load: Row) -> str:
    """Refusals, and the accepted ones' latency, under ten times what fits."""
    lines = []
    for found in load["models"]:
        seen = found["overload"]
        crowd = seen["overloaded"]
        refused = sum(count for status, count in crowd["statuses"].items() if status != "200")
        lines.append(
            [
                found["model"], seen["max_queue"], 10 * seen["clients_when_full"], f"{seen['alone']['p99_ms']:.0f} ms",
                f"{seen['full']['p99_ms']:.0f} ms", f"{crowd['p99_ms']:.0f} ms",
                crowd["statuses"].get("200", 0), refused,
                ", ".join(sorted(status for status in crowd["statuses"] if status != "200")),
            ]
        )  # fmt: skip
    columns = [
        "",
        "--max-queue",
        "clients",
        "p99 of one client",
        "of as many as fit",
        "of the accepted",
        "accepted",
        "refused",
        "with status",
    ]
    return table(columns, lines)


def of_soak(soak: Row) -> str:
    """Answers, and memory, over many minutes."""
    answers: Counter[str] = Counter(soak["statuses"])
    memory = soak["memory_mb"]
    return (
        f"{soak['model']}, {soak['clients']} clients, {soak['seconds'] / 60:g} minutes: {answers['200']:,} answers, "
        f"{soak['wrong_answers']} of them wrong, {sum(answers.values()) - answers['200']} refused; memory "
        f"{memory[0]:.0f} MB at the start, {memory[len(memory) // 2]:.0f} MB half-way, {memory[-1]:.0f} MB at the end. "
        f"{measured(soak)}"
    )
