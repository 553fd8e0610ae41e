"""docs/gpu.md: what was proved and measured on a GPU, and how that stands to the goals."""

from collections.abc import Callable, Iterator
from typing import Any

from rendering.markdown import table
from rendering.plot import new_plot, svg_of
from torchless.codec import decode
from torchless.doctor.machine import Machine

Document = dict[str, Any]
PRECISIONS = ("float32", "tf32", "fp16")
NOTHING: Document = {"batches": [], "failures": {}, "found": {}}  # as long as nobody measured
_NOT_YET = "Not measured yet."
_GRAPHS = "torchless_graphs"  # CUDA graphs, which torchless had when the first figures were recorded
_SHARE_OF_BOUND = 0.8  # of what the processors can decode and prepare


def machine(document: Document) -> str:
    """Where, when and with what."""
    if document is NOTHING:
        return "**Not measured yet**: run `make gpu-proof` on a machine with an NVIDIA GPU."
    found = decode(Machine, document["machine"], "machine")
    versions = ", ".join(f"{name} {value}" for name, value in document["versions"].items())
    failures = [
        f"- not done: {step}: {why}" for step, why in document["failures"].items() if not step.endswith(_GRAPHS)
    ]
    return "\n".join([f"Measured {document['date']} on {found}, as `{document['device']}`; {versions}.", *failures])


def goals(document: Document) -> str:
    """Each goal, what was found, and whether it is met."""
    return table(("goal", "found", "met"), _goals(document)).replace("---:", "---")


def _goals(document: Document) -> Iterator[tuple[str, str, str]]:
    best = _ms(document, "resnet50", "torchless", 1)
    eager = _ms(document, "resnet50", "pytorch", 1)
    yield "resnet50, one image: at most 1.2 ms", _shown(best, " ms"), _met(best, lambda ms: ms <= 1.2)
    faster = eager / best if eager and best else None
    yield (
        "resnet50, one image: at least 2 × PyTorch eager",
        _shown(faster, " ×"),
        _met(faster, lambda times: times >= 2),
    )
    half, compiled = (_ms(document, "resnet50", peer, 128) for peer in ("torchless_fp16", "pytorch_compile_autocast"))
    rate = compiled / half if half and compiled else None
    goal = "resnet50, 128 images in float16: at least 1.0 × torch.compile with autocast"
    yield goal, _shown(rate, " ×"), _met(rate, lambda times: times >= 1)
    share = share_of_bound(document)
    goal = f"a folder of JPEGs: the processors are the bound, at least {_SHARE_OF_BOUND} of what they can prepare"
    yield goal, _shown(share), _met(share, lambda part: part >= _SHARE_OF_BOUND)
    rows = _verdicts(document, "float32")
    found = f"{sum(rows.values())} of {len(rows)}" if rows else "–"
    yield "parity verdict on every model, in float32", found, _met(rows or None, all_of)


def all_of(verdicts: dict[str, bool]) -> bool:
    """Whether there are some, and all passed."""
    return bool(verdicts) and all(verdicts.values())


def _met(value: Any, rule: Callable[[Any], bool]) -> str:
    return "not measured" if value is None else "yes" if rule(value) else "no"


def _shown(value: float | None, unit: str = "") -> str:
    return "–" if value is None else f"{value:.3g}{unit}"


def share_of_bound(document: Document) -> float | None:
    """Images a second of a folder, as a share of those that all processors can decode and prepare."""
    found = next((value for step, value in document["found"].items() if step.startswith("folder ")), None)
    if found is None:
        return None
    bound: float = 1000 * found["cpus"] / (found["decode"]["p50_ms"] + found["preprocess"]["p50_ms"])
    return float(found["best"]["images_per_second"]) / bound


def _ms(document: Document, model: str, peer: str, batch: int) -> float | None:
    rows = document["found"].get(f"times {model} {peer}", {"times": []})["times"]
    return next((float(row["p50_ms"]) for row in rows if row["batch"] == batch), None)


def _verdicts(document: Document, precision: str) -> dict[str, bool]:
    steps = document["found"].items()
    return {
        step.split()[1]: value["passed"]
        for step, value in steps
        if step.split()[0] == "proof" and step.endswith(f" {precision}")
    }


def all_proved(document: Document) -> bool:
    """Whether every model that was proved in float32 passed."""
    return all(_verdicts(document, "float32").values())


def verdicts(document: Document) -> str:
    """Each model in each precision: the largest error in PyTorch's units, or what failed."""
    if document is NOTHING:
        return _NOT_YET
    names = list(dict.fromkeys(step.split()[1] for step in document["found"] if step.startswith("proof ")))
    rows = [(name, *(_verdict(document, name, precision) for precision in PRECISIONS)) for name in names]
    return table(("model", *PRECISIONS), rows)


def _verdict(document: Document, name: str, precision: str) -> str:
    found = document["found"].get(f"proof {name} {precision}")
    if found is None:
        return "–"
    return "passed" if found["passed"] else f"FAILED: {', '.join(found['failed'])}"


def times(document: Document) -> str:
    """Milliseconds by batch, images a second in the largest, memory."""
    steps, batches = _timed(document), document["batches"]
    if not steps:
        return _NOT_YET
    head = ("model", "by", *(f"{size}: ms" for size in batches), "images/s at most", "GPU MB", "host MB")
    found = table(head, (_times_row(name, peer, value, batches) for (name, peer), value in steps if peer != _GRAPHS))
    if all(peer != _GRAPHS for (_, peer), _ in steps):
        return found
    note = "`torchless_fp16`, and the server below, were measured with CUDA graphs, which torchless no longer has."
    return f"{found}\n\n{note}"


def graphs(document: Document) -> str:
    """Milliseconds by batch, without CUDA graphs and with them, as far as that was recorded; and what failed."""
    steps, batches = _timed(document), document["batches"]
    names = dict.fromkeys(name for (name, peer), _ in steps if peer == _GRAPHS)
    shown = {"torchless": "without", _GRAPHS: "with"}
    rows = [(name, shown[peer], *_ms_cells(value, batches)) for (name, peer), value in steps if peer in shown]
    failures = [f"- {step.split()[1]}: {why}" for step, why in document["failures"].items() if step.endswith(_GRAPHS)]
    if not names and not failures:
        return "These figures have none: torchless no longer has CUDA graphs."
    found = table(
        ("model", "CUDA graphs", *(f"{size}: ms" for size in batches)), (row for row in rows if row[0] in names)
    )
    return "\n\n".join(filter(None, [found, "\n".join(failures)]))


def _timed(document: Document) -> list[tuple[list[str], Document]]:
    """Model and peer of each measurement, and what was found."""
    return [(step.split()[1:], value) for step, value in document["found"].items() if step.startswith("times ")]


def _times_row(name: str, peer: str, value: Document, batches: list[int]) -> tuple[str, ...]:
    most = max((1000 * row["batch"] / row["p50_ms"] for row in value["times"]), default=0)
    return name, peer, *_ms_cells(value, batches), f"{most:,.0f}", str(value["gpu_mb"] or "–"), str(value["host_mb"])


def _ms_cells(value: Document, batches: list[int]) -> list[str]:
    ms = {row["batch"]: row["p50_ms"] for row in value["times"]}
    return [f"{ms[size]:.2f}" if size in ms else "–" for size in batches]


def throughput(document: Document) -> str:
    """The folder and the server."""
    rows = []
    for step, value in document["found"].items():
        if step.startswith("folder "):
            share = share_of_bound(document)
            rows.append(
                (
                    f"{step}, by `classify_many`",
                    f"{value['best']['images_per_second']:,.0f}",
                    f"{share:.2f} of the bound",
                )
            )
        elif step.startswith("server "):
            rows += [
                (f"{step}, {row['clients']} clients", f"{row['requests_per_second']:,.0f}", f"p99 {row['p99_ms']:g} ms")
                for row in value
            ]
    return table(("what", "images/s", ""), rows) if rows else _NOT_YET


def draw(document: Document) -> bytes:
    """Images a second by size of batch, a panel for the first model."""
    import matplotlib as mpl

    steps = [step for step in _timed(document) if step[0][1] != _GRAPHS]
    first = steps[0][0][0] if steps else ""
    with mpl.rc_context({"text.parse_math": False}):
        figure, axes = new_plot(8, 4.5)
        for (name, peer), value in steps:
            if name == first:
                rows = value["times"]
                axes.plot(
                    [row["batch"] for row in rows],
                    [1000 * row["batch"] / row["p50_ms"] for row in rows],
                    "o-",
                    label=peer,
                )
        axes.set_xscale("log", base=2)
        axes.set_xticks(document["batches"], [str(size) for size in document["batches"]])
        axes.set_xlabel(f"images in a batch, {first}, from main memory to logits in main memory")
        axes.set_ylabel("images a second")
        if steps:
            axes.legend(frameon=False)
        return svg_of(figure)


PARTS = {
    "machine": machine, "goals": goals, "verdicts": verdicts, "times": times, "throughput": throughput,
    "graphs": graphs,
}  # fmt: skip
PICTURES = {"throughput.svg": draw}
