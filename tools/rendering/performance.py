"""docs/performance.md: a table for each section of `make bench`. What they come to is in goals.py and summary.py."""

from collections.abc import Iterable, Iterator
from math import exp, log
from statistics import fmean, median

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured, same_machine

NAMES = {
    "torchless": "torchless",
    "torchless_fast": "torchless `--decode fast`",
    "onnxruntime": "bare ONNX Runtime",
    "openvino": "OpenVINO",
    "pytorch": "PyTorch",
    "pytorch_channels_last": "channels-last",
    "pytorch_compile": "torch.compile",
}

# Runtimes of the same arithmetic: whether they differ at all shows only beside how far the rounds of each are apart.
RANGED = ("torchless", "onnxruntime", "openvino")


def by_model(rows: Iterable[Row]) -> dict[str, dict[str, Row]]:
    """The rows by model, and then by peer."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        found.setdefault(row["model"], {})[row["peer"]] = row
    return found


def ratios(rows: Iterable[Row], peer: str) -> dict[str, float]:
    """How many times as fast as `peer` torchless is, by model."""
    return {model: peers[peer]["p50_ms"] / peers["torchless"]["p50_ms"] for model, peers in by_model(rows).items()}


def geometric_mean(values: Iterable[float]) -> float:
    return exp(fmean(log(value) for value in values))


def forward(rows: list[Row]) -> str:
    """Milliseconds of each peer; how many times as fast as PyTorch and OpenVINO torchless is, with geometric means."""
    columns = [name for name in NAMES if name in {row["peer"] for row in rows}]
    lines = []
    for model, peers in by_model(rows).items():
        own = peers["torchless"]["p50_ms"]
        times = [_time(peers[name], ranged=name in RANGED) for name in columns]
        lines.append(
            [model, *times, f"{peers['pytorch']['p50_ms'] / own:.2f} ×", f"{peers['openvino']['p50_ms'] / own:.2f} ×"]
        )
    means = [f"{geometric_mean(ratios(rows, peer).values()):.2f} ×" for peer in ("pytorch", "openvino")]
    lines.append(["geometric mean", *([""] * len(columns)), *means])
    spread = max((row["most_ms"] - row["least_ms"]) / row["p50_ms"] for row in rows)
    typical = median((row["most_ms"] - row["least_ms"]) / row["p50_ms"] for row in rows)
    head = ["ms", *(NAMES[name] for name in columns), "over PyTorch", "over OpenVINO"]
    note = f"The medians of the rounds lie {typical:.0%} apart in the middle case, {spread:.0%} in the worst."
    return f"{table(head, lines)}\n\n{note}"


def _time(row: Row, *, ranged: bool) -> str:
    """The median of the rounds, and perhaps the quickest and the slowest of them."""
    return f"{row['p50_ms']:.2f}" + (f" ({row['least_ms']:.2f}–{row['most_ms']:.2f})" if ranged else "")


INT8_GOAL_LEAVES_OUT = "mobilenet_v3_small"  # is there to show where int8 does not pay


def int8(rows: list[Row]) -> str:
    """Milliseconds in int8, in float32 and of PyTorch; how many times as fast int8 is; and the files' sizes."""
    lines = []
    for model, peers in by_model(rows).items():
        small, full, eager = (peers[name] for name in ("torchless_int8", "torchless", "pytorch"))
        times = [f"{row['p50_ms']:.2f}" for row in (small, full, eager)]
        over = [f"{row['p50_ms'] / small['p50_ms']:.2f} ×" for row in (full, eager)]
        lines.append([model, *times, *over, *(f"{row['bytes'] / 1e6:.0f}" for row in (small, full))])
    head = ["ms", "int8", "float32", "PyTorch", "over float32", "over PyTorch", "int8, MB", "float32, MB"]
    mean = f"Geometric mean over PyTorch, {INT8_GOAL_LEAVES_OUT} left out: {int8_mean(rows):.2f} × (goal: ≥ 3 ×)."
    return f"{table(head, lines)}\n\n{mean}"


def int8_mean(rows: list[Row]) -> float:
    """How many times as fast as PyTorch eager int8 is: the geometric mean over the models that the goal names."""
    models = {model: peers for model, peers in by_model(rows).items() if model != INT8_GOAL_LEAVES_OUT}
    return geometric_mean(peers["pytorch"]["p50_ms"] / peers["torchless_int8"]["p50_ms"] for peers in models.values())


def profile(rows: list[Row]) -> str:
    """The operators that take most of each network's time."""
    lines = [[row["model"], ", ".join(f"{name} {share:.0%}" for name, share in row["shares"].items())] for row in rows]
    return "\n".join(
        ["| | share of the time |", "| --- | --- |", *(f"| {name} | {shares} |" for name, shares in lines)]
    )


def folders(rows: list[Row]) -> str:
    """Images a second of whole commands, against the script and against the bound."""
    scripts = {(row["model"], *row["size"]): row["images_per_second"] for row in rows if row["case"] == "pytorch"}
    lines = []
    for row in rows:
        rate = row["images_per_second"]
        over = rate / scripts[row["model"], *row["size"]]
        stages = [f"{row[key]:.2f}" if key in row else "" for key in ("decode_ms", "preprocess_ms", "inference_ms")]
        bound = f"{row['share_of_bound']:.0%}" if "share_of_bound" in row else ""
        same = f"{row['top1_as_pytorch']:.1%}" if "top1_as_pytorch" in row else ""
        name = f"{row['model']}, {row['images']} of {row['size'][0]}×{row['size'][1]}: {NAMES[row['case']]}"
        lines.append([name, f"{rate:.1f}", f"{over:.2f} ×", *stages, bound, same])
    head = ["", "images/s", "over PyTorch", "decode ms", "preprocess ms", "inference ms", "of the bound", "same top-1"]
    return table(head, lines)


def arithmetic(part: Row, folders: Row) -> str:
    """How much of what the processors can do at most the folder of resnet50 takes. Both are sections of the file."""
    if not same_machine(part, folders):
        return "Not told: the two were measured on different machines (`make bench ARGS='folders arithmetic'`)."
    found, folder_rows = part["found"], folders["found"]
    rates, gflop = found["gflop_per_second"], found["gflop"]["resnet50"]
    most = max(rates.values())
    lines = []
    for row in folder_rows:
        if row["model"] == "resnet50":
            used = row["images_per_second"] * gflop
            lines.append([NAMES[row["case"]], f"{row['images_per_second']:.1f}", f"{used:.0f}", f"{used / most:.0%}"])
    head = ["resnet50, whole command", "images/s", "GFLOP/s", f"of numpy's matrix product, {most:.0f} GFLOP/s"]
    return f"{table(head, lines)}\n\n{measured(part, folders)}"


EXPORT_STAGES = {
    "start": "command line",
    "import": "import",
    "load": "load",
    "convert": "convert",
    "prove": "prove",
    "end": "last proof",
    "total": "all",
    "processors": "processor time",
}


def export(results: Row) -> str:
    """Seconds of a whole export by stage, and of torch's two exporters alone."""
    part = results.get("export")
    if part is None:
        return "Not measured yet: `make bench ARGS=export`."
    lines = [
        [
            row["model"],
            *(f"{row['seconds'][name]:.1f}" for name in EXPORT_STAGES),
            *(f"{row['alone'][name]:.1f}" for name in ("dynamo", "torchscript")),
        ]
        for row in part["found"]
    ]
    head = ["seconds", *EXPORT_STAGES.values(), "dynamo alone", "TorchScript alone"]
    return f"{table(head, lines)}\n\n{measured(part)}"


EXPORT_PARTS = {
    "imports": "importing torch",
    "waiting": "four images through efficientnet_lite0, two threads, elapsed",
    "moments": "means and squares of random weights, ns a number",
    "reference": "an image through resnet50 in float64, by the size of the batch",
    "freeing": "the same, in batches of 8",
    "garbage": "the first conversion of a process",
    "conversion": "resnet50 by exporter, not the first time",
}


def export_parts(found: Row) -> str:
    """A line for each figure: of which part of an export, in which case."""
    lines = [
        (words if number == 0 else "", case, value)
        for name, words in EXPORT_PARTS.items()
        for number, (case, value) in enumerate(_cases(found[name]))
    ]
    return table(["part", "case", "seconds"], lines)


def _cases(values: Row, *names: str) -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        case = *names, name
        if isinstance(value, dict):
            yield from _cases(value, *case)
        else:
            yield ", ".join(case), f"{value:.2f}" if isinstance(value, float) else f"{value}"


def cold_start(rows: list[Row]) -> str:
    """Seconds of whole processes, and as a share of the ONNX Runtime script's, in time and in processor time."""
    bare = {row["model"]: row for row in rows if row["case"] == "onnxruntime"}
    names = NAMES | {"onnxruntime": "numpy + Pillow + ONNX Runtime script", "pytorch": "PyTorch script"}
    lines = [
        [
            f"{row['model']}: {names[row['case']]}",
            f"{row['p50_s']:.2f}",
            f"{row['least_s']:.2f}",
            f"{row['p50_s'] / bare[row['model']]['p50_s']:.2f} ×",
            f"{row['cpu_s'] / bare[row['model']]['cpu_s']:.2f} ×" if "cpu_s" in row else "",
        ]
        for row in rows
    ]
    return table(["", "median s", "least s", "of the short script's", "processor time of the short script's"], lines)


def preprocessing(rows: list[Row]) -> str:
    head = ["image, preset", "torchvision ms", "exact ms", "fast ms", "exact", "fast"]
    keys = ("torchvision", "exact", "fast")
    return table(
        head,
        (
            [
                f"{row['size']}, {row['preset']}",
                *(f"{row[key]:.2f}" for key in keys),
                *(f"{row[f'{key}_ratio']:.2f} ×" for key in keys[1:]),
            ]
            for row in rows
        ),
    )


def memory(rows: list[Row]) -> str:
    lines = []
    for row in rows:
        tenths = row["resident_bytes"]
        change = tenths[9] / tenths[1] - 1
        ratio = row["peak_bytes"] / row["onnxruntime_peak_bytes"]
        cells = [f"{tenths[1] / 1e6:.0f}", f"{tenths[9] / 1e6:.0f}", f"{change:+.1%}", f"{row['peak_bytes'] / 1e6:.0f}"]
        lines.append(
            [row["model"], row["images"], *cells, f"{row['onnxruntime_peak_bytes'] / 1e6:.0f}", f"{ratio:.2f} ×"]
        )
    head = [
        "",
        "images",
        "second tenth, MB",
        "last tenth, MB",
        "change",
        "peak, MB",
        "bare ONNX Runtime's peak, MB",
        "ratio",
    ]
    return table(head, lines)


def size(found: Row) -> str:
    total = {name: sum(sizes.values()) / 1e6 for name, sizes in found.items()}
    lines = [[name, f"{count / 1e6:.1f}"] for name, count in found["runtime"].items()]
    lines.append(["**all of `torchless[cpu]`**", f"**{total['runtime']:.0f}**"])
    lines.append(
        [f"torch, torchvision and what they require: {len(found['pytorch'])} packages", f"{total['pytorch']:.0f}"]
    )
    return f"{table(['', 'MB'], lines)}\n\nThat is 1/{total['pytorch'] / total['runtime']:.0f}."


def loading(rows: list[Row]) -> str:
    """What a cache would save: opening a session, less opening the cached file and hashing the exported one."""
    head = [
        "",
        "file, MB",
        "open it, ms",
        "open the optimised, ms",
        "as ORT format, ms",
        "hash it, ms",
        "a cache would save, ms",
    ]
    lines = []
    for row in rows:
        saved = row["exported_ms"] - min(row["optimised_onnx_ms"], row["optimised_ort_ms"]) - row["hash_ms"]
        times = [f"{row[key]:.0f}" for key in ("exported_ms", "optimised_onnx_ms", "optimised_ort_ms", "hash_ms")]
        lines.append([row["model"], f"{row['exported_bytes'] / 1e6:.0f}", *times, f"{saved:.0f}"])
    return table(head, lines)


def workers(rows: list[Row]) -> str:
    """Images a second by model and setting."""
    settings: dict[str, dict[str, float]] = {}
    for row in rows[1:]:
        batches = f", batches of {row['batch_size']}" if row["batch_size"] > 1 else ""
        threads = f"{row['threads']} thread{'s' * (row['threads'] > 1)}"
        name = f"{row['workers']} worker{'s' * (row['workers'] > 1)}, {threads}{batches}"
        settings.setdefault(name, {})[row["model"]] = row["images_per_second"]
    models = list(next(iter(settings.values())))
    return table(
        ["images/s", *models],
        ([name, *(f"{rates[model]:.1f}" for model in models)] for name, rates in settings.items()),
    )


def decoding(rows: list[Row] | Row) -> str:
    """The time of one image by each way of decoding, and what fast decoding changes in the answers of each network."""
    if isinstance(rows, dict):
        return "Not told: it was measured before there was an extra `fast` (`make bench ARGS=decoding`)."
    head = [
        "", "exact ms", "fast ms", "without the extra", "top-1 the same", "no margin: the same", "surest that flipped",
        "of the top 5, shared", "shift of the top-1 probability: median, largest",
    ]  # fmt: skip
    lines = []
    for row in rows:
        fast, images = row["fast"], row["images"]
        lines.append(
            [
                f"{row['model']}, {images} of {row['size'][0]}×{row['size'][1]}",
                f"{row['exact_ms']:.1f}",
                f"{fast['ms']:.1f}",
                f"{row['pillow']['ms']:.1f}",
                f"{fast['top1_same'] / images:.1%}",
                f"{row['no_margin']['top1_same'] / images:.1%}",
                f"{fast['highest_probability_that_flipped']:.3f}",
                f"{fast['top5_shared']:.2f}",
                f"{fast['median_shift_of_top1_probability']:.4f}, {fast['largest_shift_of_top1_probability']:.3f}",
            ]
        )
    return table(head, lines)


def parts(found: Row) -> str:
    """What was tried for folders of images, a line each."""
    small, large = found["decode"]
    resize, exact = found["resize"][0], found["images"][0]
    once, across = resize["at_once"], resize["across_first"]
    eighth = (
        f"- **A JPEG at an eighth of its size** takes {large['other_8']:.0f} of the {large['other_1']:.0f} ms of "
        f"a whole one (4000×3000, {large['bytes'] / 1e6:.1f} MB), and {small['other_8']:.2f} of "
        f"{small['other_1']:.2f} ms at 500×375: undoing the Huffman codes, which no decoder can leave out. So "
        "`--decode fast` cannot be several times as fast as it is."
    )
    resizing = (
        f"- **Resizing in one go** with cykooz-resizer takes {once['ms']:.2f} ms, across first and then down "
        f"{across['ms']:.2f}, but {once['share_that_differs']:.1%} of the values differ from Pillow's, not "
        f"{across['share_that_differs']:.1%}."
    )
    batches = (
        f"- **Batches in a folder**: mobilenet_v3_small takes {exact['1_1']:.2f} ms of a processor for an image by "
        f"itself, {exact['4_1']:.2f} where four go through each step at once, {exact['4_4']:.2f} where they go through "
        "the model at once too. That is not the default: on another processor the last bits may be others than those "
        "of one image, and it takes more memory. `--batch-size 4` does it."
    )
    return f"{eighth}\n{resizing}\n{batches}"
