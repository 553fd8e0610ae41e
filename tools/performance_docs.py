"""Fills in what the docs copy from figures/bench.json, and draws its plot. `make bench` runs it after the measurement."""

import json
from collections.abc import Iterable
from math import exp, log
from pathlib import Path
from statistics import fmean, median
from typing import Any

from pages import fill, table

ROOT = Path(__file__).parents[1]
RESULTS, DOCS = ROOT / "figures" / "bench.json", ROOT / "docs"
PLOT = DOCS / "images" / "performance.svg"

NAMES = {
    "torchless": "torchless",
    "torchless_fast": "torchless `--decode fast`",
    "onnxruntime": "bare ONNX Runtime",
    "openvino": "OpenVINO",
    "pytorch": "PyTorch",
    "pytorch_channels_last": "channels-last",
    "pytorch_compile": "torch.compile",
}

Row = dict[str, Any]


def machine(results: Row) -> str:
    """Where and when."""
    found, dates = results["machine"], sorted({part["date"] for part in results.values() if "date" in part})
    versions = ", ".join(f"{name} {number}" for name, number in found["versions"].items())
    return f"{found['processor']}, {found['processors']} processors; Python {found['python']}, {versions}; measured {' and '.join(dates)}."


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
    """Milliseconds of each peer; how many times as fast as PyTorch and OpenVINO torchless is, and the geometric means."""
    columns = [name for name in NAMES if name in {row["peer"] for row in rows}]
    lines = []
    for model, peers in by_model(rows).items():
        own = peers["torchless"]["p50_ms"]
        times = [f"{peers[name]['p50_ms']:.2f}" for name in columns]
        lines.append([model, *times, f"{peers['pytorch']['p50_ms'] / own:.2f} ×", f"{peers['openvino']['p50_ms'] / own:.2f} ×"])
    means = [f"{geometric_mean(ratios(rows, peer).values()):.2f} ×" for peer in ("pytorch", "openvino")]
    lines.append(["geometric mean", *([""] * len(columns)), *means])
    spread = max((row["most_ms"] - row["least_ms"]) / row["p50_ms"] for row in rows)
    typical = median((row["most_ms"] - row["least_ms"]) / row["p50_ms"] for row in rows)
    head = ["ms", *(NAMES[name] for name in columns), "over PyTorch", "over OpenVINO"]
    note = f"The medians of the rounds lie {typical:.0%} apart in the middle case, {spread:.0%} in the worst."
    return f"{table(head, lines)}\n\n{note}"


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
    return f"{table(head, lines)}\n\nGeometric mean over PyTorch, {INT8_GOAL_LEAVES_OUT} left out: {int8_mean(rows):.2f} × (goal: ≥ 3 ×)."


def int8_mean(rows: list[Row]) -> float:
    """How many times as fast as PyTorch eager int8 is: the geometric mean over the models that the goal names."""
    models = {model: peers for model, peers in by_model(rows).items() if model != INT8_GOAL_LEAVES_OUT}
    return geometric_mean(peers["pytorch"]["p50_ms"] / peers["torchless_int8"]["p50_ms"] for peers in models.values())


def options(rows: list[Row]) -> str:
    """Each option's time as a share of the default's; below 1 is faster."""
    models = by_model(rows)
    names = [name for name in next(iter(models.values())) if name not in ("pytorch", "onnxruntime")]
    lines = [[name, *(f"{peers[name]['p50_ms'] / peers['onnxruntime']['p50_ms']:.2f}" for peers in models.values())] for name in names]
    default = ["default, ms", *(f"{peers['onnxruntime']['p50_ms']:.2f}" for peers in models.values())]
    return table(["time ÷ the default's", *models], [default, *lines])


def profile(rows: list[Row]) -> str:
    """The operators that take most of each network's time."""
    lines = [[row["model"], ", ".join(f"{name} {share:.0%}" for name, share in row["shares"].items())] for row in rows]
    return "\n".join(["| | share of the time |", "| --- | --- |", *(f"| {name} | {shares} |" for name, shares in lines)])


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


def arithmetic(found: Row, folder_rows: list[Row]) -> str:
    """How much of what the processors can do at most the folder of resnet50 takes."""
    rates, gflop = found["gflop_per_second"], found["gflop"]["resnet50"]
    most = max(rates.values())
    lines = []
    for row in folder_rows:
        if row["model"] == "resnet50":
            used = row["images_per_second"] * gflop
            lines.append([NAMES[row["case"]], f"{row['images_per_second']:.1f}", f"{used:.0f}", f"{used / most:.0%}"])
    head = ["resnet50, whole command", "images/s", "GFLOP/s", f"of numpy's matrix product, {most:.0f} GFLOP/s"]
    return table(head, lines)


def cold_start(rows: list[Row]) -> str:
    """Seconds of whole processes, and as a share of the ONNX Runtime script's."""
    bare = {row["model"]: row["p50_s"] for row in rows if row["case"] == "onnxruntime"}
    names = NAMES | {"onnxruntime": "numpy + Pillow + ONNX Runtime script", "pytorch": "PyTorch script"}
    lines = [
        [f"{row['model']}: {names[row['case']]}", f"{row['p50_s']:.2f}", f"{row['least_s']:.2f}", f"{row['p50_s'] / bare[row['model']]:.2f} ×"]
        for row in rows
    ]
    return table(["", "median s", "least s", "of the short script's"], lines)


def preprocessing(rows: list[Row]) -> str:
    head = ["image, preset", "torchvision ms", "exact ms", "fast ms", "exact", "fast"]
    keys = ("torchvision", "exact", "fast")
    return table(
        head,
        (
            [f"{row['size']}, {row['preset']}", *(f"{row[key]:.2f}" for key in keys), *(f"{row[f'{key}_ratio']:.2f} ×" for key in keys[1:])]
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
        lines.append([row["model"], row["images"], *cells, f"{row['onnxruntime_peak_bytes'] / 1e6:.0f}", f"{ratio:.2f} ×"])
    head = ["", "images", "second tenth, MB", "last tenth, MB", "change", "peak, MB", "bare ONNX Runtime's peak, MB", "ratio"]
    return table(head, lines)


def size(found: Row) -> str:
    total = {name: sum(sizes.values()) / 1e6 for name, sizes in found.items()}
    lines = [[name, f"{count / 1e6:.1f}"] for name, count in found["runtime"].items()]
    lines.append(["**all of `torchless[cpu]`**", f"**{total['runtime']:.0f}**"])
    lines.append([f"torch, torchvision and what they require: {len(found['pytorch'])} packages", f"{total['pytorch']:.0f}"])
    return f"{table(['', 'MB'], lines)}\n\nThat is 1/{total['pytorch'] / total['runtime']:.0f}."


def loading(rows: list[Row]) -> str:
    """What a cache would save: the time of opening a session, less that of opening the cached file and of hashing the exported one."""
    head = ["", "file, MB", "open it, ms", "open the optimised, ms", "as ORT format, ms", "hash it, ms", "a cache would save, ms"]
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
        name = f"{row['workers']} worker{'s' * (row['workers'] > 1)}, {row['threads']} thread{'s' * (row['threads'] > 1)}{batches}"
        settings.setdefault(name, {})[row["model"]] = row["images_per_second"]
    models = list(next(iter(settings.values())))
    return table(["images/s", *models], ([name, *(f"{rates[model]:.1f}" for model in models)] for name, rates in settings.items()))


def decoding(found: Row) -> str:
    fast = found["margin_1"]
    lines = [
        ["decode and preprocess one image, one thread", f"{found['exact_ms']:.1f} ms", f"{fast['ms']:.1f} ms"],
        ["top-1 the same as exact", "–", f"{fast['top1_same']} of {found['images']}"],
        ["the surest exact answer that flipped", "–", f"{fast['highest_probability_that_flipped']:.3f}"],
        ["of the top 5, shared with exact", "–", f"{fast['top5_shared']:.2f}"],
        [
            "shift of the top-1 probability: median, largest",
            "–",
            f"{fast['median_shift_of_top1_probability']:.3f}, {fast['largest_shift_of_top1_probability']:.3f}",
        ],
    ]
    return table(["", "exact", "fast"], lines)


def goals(results: Row) -> str:
    """Each goal beside what was measured."""
    rows = results["forward"]["found"]
    eager, openvino = ratios(rows, "pytorch"), ratios(rows, "openvino")
    folder = {(row["model"], row["size"][0], row["case"]): row for row in results["folders"]["found"]}
    cold = {row["case"]: row["p50_s"] for row in results["cold_start"]["found"] if row["model"] == "resnet50"}
    first = next(row for row in results["preprocessing"]["found"] if row["size"] == "500×375")
    grown = [row["resident_bytes"][9] / row["resident_bytes"][1] - 1 for row in results["memory"]["found"]]
    peaks = [row["peak_bytes"] / row["onnxruntime_peak_bytes"] for row in results["memory"]["found"]]
    sizes = {name: sum(found.values()) for name, found in results["size"]["found"].items()}

    def over(model: str, width: int, case: str) -> float:
        return float(folder[model, width, case]["images_per_second"] / folder[model, width, "pytorch"]["images_per_second"])

    def least(found: dict[str, float]) -> str:
        model = min(found, key=lambda name: found[name])
        return f"{found[model]:.2f} × ({model})"

    bounds = [row["share_of_bound"] for row in folder.values() if "share_of_bound" in row]
    lines = [
        ["one image, over PyTorch eager: geometric mean", "≥ 2.5 ×", f"{geometric_mean(eager.values()):.2f} ×"],
        ["… the least of the models", "≥ 1.0 ×", least(eager)],
        ["one image, over OpenVINO float32: geometric mean", "≥ 1.0 ×", f"{geometric_mean(openvino.values()):.2f} ×"],
        ["… the least of the models", "≥ 0.9 ×", least(openvino)],
        ["1,000 of 500×375, resnet50, over the PyTorch script", "≥ 2.2 ×", f"{over('resnet50', 500, 'torchless'):.2f} ×"],
        ["… mobilenet_v3_small", "≥ 2 ×", f"{over('mobilenet_v3_small', 500, 'torchless'):.2f} ×"],
        ["200 of 4000×3000, mobilenet_v3_small, exact", "≥ 1.2 ×", f"{over('mobilenet_v3_small', 4000, 'torchless'):.2f} ×"],
        ["… `--decode fast`", "≥ 4 ×", f"{over('mobilenet_v3_small', 4000, 'torchless_fast'):.2f} ×"],
        ["folders, of the bound", "≥ 0.9", f"{min(bounds):.2f} to {max(bounds):.2f}"],
        ["cold start of resnet50, of the short script's", "≤ 1.15 ×", f"{cold['torchless'] / cold['onnxruntime']:.2f} ×"],
        ["… over the PyTorch script", "≥ 8 ×", f"{cold['pytorch'] / cold['torchless']:.1f} ×"],
        ["preprocessing 500×375, over torchvision, bit-exact", "≥ 1.5 ×", f"{first['exact_ratio']:.2f} ×"],
        ["memory, last tenth against second", "within 5 %", ", ".join(f"{change:+.1%}" for change in grown)],
        ["… peak, of bare ONNX Runtime's", "≤ 1.2 ×", ", ".join(f"{ratio:.2f} ×" for ratio in peaks)],
        ["installed size, of PyTorch's", "≤ 1/20", f"1/{sizes['pytorch'] / sizes['runtime']:.1f}"],
    ]
    return table(["", "goal", "measured"], lines)


def summary(results: Row) -> str:
    """The README's few lines."""
    images = by_model(results["forward"]["found"])
    rows = [
        [model, *(f"{images[model][peer]['p50_ms']:.1f} ms" for peer in ("pytorch", "torchless")), f"{ratio:.1f} ×"]
        for model, ratio in ratios(results["forward"]["found"], "pytorch").items()
        if model in ("mobilenet_v3_small", "resnet50", "vit_b_16")
    ]
    folder = {(row["model"], row["size"][0], row["case"]): row["images_per_second"] for row in results["folders"]["found"]}
    for model in ("mobilenet_v3_small", "resnet50"):
        script, own = (folder[model, 500, case] for case in ("pytorch", "torchless"))
        rows.append([f"1,000 photos through {model}", f"{script:.0f} images/s", f"{own:.0f} images/s", f"{own / script:.1f} ×"])
    cold = {row["case"]: row["p50_s"] for row in results["cold_start"]["found"] if row["model"] == "resnet50"}
    rows.append(
        [
            "start, one photo through resnet50, end",
            f"{cold['pytorch']:.1f} s",
            f"{cold['torchless']:.2f} s",
            f"{cold['pytorch'] / cold['torchless']:.0f} ×",
        ]
    )
    sizes = {name: sum(found.values()) / 1e6 for name, found in results["size"]["found"].items()}
    rows.append(["installed", f"{sizes['pytorch']:.0f} MB", f"{sizes['runtime']:.0f} MB", f"1/{sizes['pytorch'] / sizes['runtime']:.0f}"])
    return table([f"{results['machine']['processors']} processors", "PyTorch", "torchless", ""], rows)


def draw(rows: list[Row], target: Path) -> None:
    """For each model a point for each peer: how many times as fast as PyTorch eager."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "torchless"  # the same figures give the same file
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4.2), layout="constrained")
    models = sorted(by_model(rows).items(), key=lambda item: item[1]["pytorch"]["p50_ms"] / item[1]["torchless"]["p50_ms"])
    styles = {
        "torchless": ("o", "#2f6fb3", 8), "onnxruntime": (".", "#7aa6d6", 7), "openvino": ("D", "#e08a1e", 5),
        "pytorch_compile": ("s", "#b3261e", 5), "pytorch_channels_last": ("^", "#d98079", 5),
    }  # fmt: skip
    for number, (_, peers) in enumerate(models):
        axes.plot([1, peers["pytorch"]["p50_ms"] / peers["torchless"]["p50_ms"]], [number, number], color="#d5dce5", zorder=0)
    for peer, (marker, color, width) in styles.items():
        values = [peers["pytorch"]["p50_ms"] / peers[peer]["p50_ms"] for _, peers in models]
        axes.plot(values, range(len(models)), marker, color=color, markersize=width, label=NAMES[peer], linestyle="none")
    axes.axvline(1, color="#6b7684", linestyle=":", label="PyTorch eager")
    axes.set_yticks(range(len(models)), [name for name, _ in models])
    axes.set(xscale="log", xlabel="times as fast as PyTorch eager, one image")
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.legend(loc="lower right", frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(target, metadata={"Date": None})


def parts(results: Row) -> dict[str, dict[str, str]]:
    """For each page, what its parts hold."""
    found = {name: part["found"] for name, part in results.items() if "found" in part}
    performance = {
        "machine": machine(results),
        "goals": goals(results),
        "forward": forward(found["forward"]),
        "int8": int8(found["int8"]) if "int8" in found else "Not measured yet: `make bench ARGS=int8`.",
        "options": options(found["options"]),
        "profile": profile(found["profile"]),
        "folders": folders(found["folders"]),
        "arithmetic": arithmetic(found["arithmetic"], found["folders"]),
        "cold_start": cold_start(found["cold_start"]),
        "preprocessing": preprocessing(found["preprocessing"]),
        "memory": memory(found["memory"]),
        "size": size(found["size"]),
        "loading": loading(found["loading"]),
    }
    return {
        "performance.md": performance,
        "../README.md": {"performance": summary(results)},
        "many-images.md": {"workers": workers(found["workers"])},
        "images.md": {"decoding": decoding(found["decoding"])},
    }


def main() -> None:
    """Reads the figures and rewrites the pages and the plot."""
    results = json.loads(RESULTS.read_text())
    for name, content in parts(results).items():
        page = DOCS / name
        page.write_text(fill(page.read_text(), content))
    draw(results["forward"]["found"], PLOT)


if __name__ == "__main__":
    main()
