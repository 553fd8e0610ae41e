"""docs/performance.md: each goal beside what was measured.

A new goal is a line of GOALS: what it is, the goal, the sections of the figures that it needs, and the text that it
makes of what was found in each of them.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured
from rendering.performance import geometric_mean, ratios
from rendering.serving import of_folder, ratio

SMALL = "mobilenet_v3_small"
NOT_YET = "not measured yet"


@dataclass(frozen=True)
class Goal:
    """`found` gets what each of `sections` holds; it may raise LookupError or StopIteration where that has no such
    case.
    """

    what: str
    goal: str
    sections: tuple[str, ...]
    found: Callable[..., str]

    def line(self, results: Row) -> list[str]:
        """A line of the table."""
        try:
            return [self.what, self.goal, self.found(*(results[name]["found"] for name in self.sections))]
        except (LookupError, StopIteration):
            return [self.what, self.goal, NOT_YET]


def table_of_goals(bench: Row, serve: Row) -> str:
    """The table, of figures/bench.json and figures/serve.json; a goal gets the latter whole, as the section "serve"."""
    results = bench | ({"serve": serve | {"found": serve}} if serve else {})
    used = dict.fromkeys(name for goal in GOALS for name in goal.sections if name in results)
    lines = [goal.line(results) for goal in GOALS]
    return f"{table(['', 'goal', 'measured'], lines)}\n\n{measured(*(results[name] for name in used))}"


def _least(found: dict[str, float]) -> str:
    model = min(found, key=lambda name: found[name])
    return f"{found[model]:.2f} × ({model})"


def _mean_over(peer: str) -> Callable[[list[Row]], str]:
    return lambda rows: f"{geometric_mean(ratios(rows, peer).values()):.2f} ×"


def _least_over(peer: str) -> Callable[[list[Row]], str]:
    return lambda rows: _least(ratios(rows, peer))


def _folders(rows: list[Row], model: str, width: int, case: str) -> list[Row]:
    """The case's rows, that of the most images last."""
    found = [row for row in rows if (row["model"], row["size"][0], row["case"]) == (model, width, case)]
    return sorted(found, key=lambda row: row["images"])


def _folder(rows: list[Row], model: str, width: int, case: str) -> Row:
    return _folders(rows, model, width, case)[-1]


def _rates(model: str, width: int, case: str, other: str) -> Callable[[list[Row]], str]:
    """How many times as many images a second `case` does as `other`, over the same folder."""

    def found(rows: list[Row]) -> str:
        folders, others = (_folders(rows, model, width, name) for name in (case, other))
        pairs = [(row, base) for row in folders for base in others if row["images"] == base["images"]]
        row, base = pairs[-1]
        return f"{row['images_per_second'] / base['images_per_second']:.2f} ×"

    return found


def _starts(wanted: Callable[[str], bool], case: str, other: str, digits: int = 2) -> Callable[[list[Row]], str]:
    """How many times as long a start of `case` takes as one of `other`, for each of the `wanted` models."""

    def found(rows: list[Row]) -> str:
        seconds = {(row["model"], row["case"]): row["p50_s"] for row in rows}
        models = dict.fromkeys(row["model"] for row in rows if wanted(row["model"]))
        return _listed(f"{seconds[name, case] / seconds[name, other]:.{digits}f} × ({name})" for name in models)

    return found


def _exports(model: str) -> Callable[[list[Row]], str]:
    return lambda rows: f"{next(row for row in rows if row['model'] == model)['seconds']['total']:.1f} s"


def _serves(text: Callable[[Row], str]) -> Callable[[Row], str]:
    """What a server of the small network does."""
    return lambda found: text(next(row for row in found["models"] if row["model"] == SMALL))


def _against(row: Row, clients: int, fewer: int) -> str:
    rates = {one["clients"]: one["requests_per_second"] for one in row["servers"] if one["server"] == "torchless"}
    return f"{rates[clients] / rates[fewer]:.2f} ×"


def _listed(texts: Iterable[str]) -> str:
    texts = list(texts)
    if not texts:
        raise LookupError("no such case")
    return ", ".join(texts)


def _of_each(text: Callable[[Row], str]) -> Callable[[list[Row]], str]:
    return lambda rows: _listed(f"{text(row)} ({row['model']})" for row in rows)


def _is_large(model: str) -> bool:
    return model == "resnet50"


def _is_small(model: str) -> bool:
    return not _is_large(model)


GOALS = (
    Goal("one image, over PyTorch eager: geometric mean", "≥ 2.5 ×", ("forward",), _mean_over("pytorch")),
    Goal("… the least of the models", "≥ 1.0 ×", ("forward",), _least_over("pytorch")),
    Goal("one image, over OpenVINO float32: geometric mean", "≥ 1.0 ×", ("forward",), _mean_over("openvino")),
    Goal("… the least of the models", "≥ 0.9 ×", ("forward",), _least_over("openvino")),
    Goal(
        "folder of 500×375, over the PyTorch script: resnet50", "≥ 2.2 ×", ("folders",),
        _rates("resnet50", 500, "torchless", "pytorch"),
    ),
    Goal(f"… {SMALL}", "≥ 2 ×", ("folders",), _rates(SMALL, 500, "torchless", "pytorch")),
    Goal(
        f"… {SMALL}, of the bound", "≥ 0.9", ("folders",),
        lambda rows: f"{_folder(rows, SMALL, 500, 'torchless')['share_of_bound']:.2f}",
    ),
    Goal(
        f"… {SMALL}, `--decode fast` over exact", "≥ 1.5 ×", ("folders",),
        _rates(SMALL, 500, "torchless_fast", "torchless"),
    ),
    Goal(
        f"folder of 4000×3000, {SMALL}, over the PyTorch script", "≥ 1.2 ×", ("folders",),
        _rates(SMALL, 4000, "torchless", "pytorch"),
    ),
    Goal("… `--decode fast` over exact", "≥ 6 ×", ("folders",), _rates(SMALL, 4000, "torchless_fast", "torchless")),
    Goal(
        "… `--decode fast`, same top-1", "≥ 98 %", ("folders",),
        lambda rows: f"{_folder(rows, SMALL, 4000, 'torchless_fast')['top1_as_pytorch']:.1%}",
    ),
    Goal(
        f"server, {SMALL}, 32 clients, over LitServe with ONNX Runtime, a process for each processor", "≥ 1.15 ×",
        ("serve",), _serves(lambda row: f"{ratio(row, 'litserve-onnxruntime-processes', 32):.2f} ×"),
    ),
    Goal("… of its own folder's rate", "≥ 0.9", ("serve",), _serves(lambda row: f"{of_folder(row, 32):.2f}")),
    Goal("… 32 clients against 4", "≥ 1 ×", ("serve",), _serves(lambda row: _against(row, 32, 4))),
    Goal("… 128 clients against 4", "≥ 1 ×", ("serve",), _serves(lambda row: _against(row, 128, 4))),
    Goal(
        "cold start, of the short script's: small networks", "≤ 1.10 ×", ("cold_start",),
        _starts(_is_small, "torchless", "onnxruntime"),
    ),
    Goal("… large ones", "≤ 1.15 ×", ("cold_start",), _starts(_is_large, "torchless", "onnxruntime")),
    Goal("… over the PyTorch script", "≥ 8 ×", ("cold_start",), _starts(_is_large, "pytorch", "torchless", 1)),
    Goal(
        "preprocessing 500×375, over torchvision, bit-exact", "≥ 1.5 ×", ("preprocessing",),
        lambda rows: f"{next(row for row in rows if row['size'] == '500×375')['exact_ratio']:.2f} ×",
    ),
    Goal(
        "memory, last tenth against second", "within 5 %", ("memory",),
        _of_each(lambda row: f"{row['resident_bytes'][9] / row['resident_bytes'][1] - 1:+.1%}"),
    ),
    Goal(
        "… peak, of bare ONNX Runtime's", "≤ 1.2 ×", ("memory",),
        _of_each(lambda row: f"{row['peak_bytes'] / row['onnxruntime_peak_bytes']:.2f} ×"),
    ),
    Goal("export and proof, whole process: resnet50", "≤ 20 s", ("export",), _exports("resnet50")),
    Goal("… efficientnet_lite0", "≤ 12 s", ("export",), _exports("efficientnet_lite0")),
    Goal(
        "installed size, of PyTorch's", "≤ 1/20", ("size",),
        lambda found: f"1/{sum(found['pytorch'].values()) / sum(found['runtime'].values()):.1f}",
    ),
)  # fmt: skip
