"""What the figures of `make bench` come to: docs/performance.md's goals and plot, and the README's few lines."""

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured
from rendering.performance import NAMES, by_model, geometric_mean, ratios
from rendering.plot import new_plot, svg_of
from torchless.palette import LIGHT


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
        return float(
            folder[model, width, case]["images_per_second"] / folder[model, width, "pytorch"]["images_per_second"]
        )

    def least(found: dict[str, float]) -> str:
        model = min(found, key=lambda name: found[name])
        return f"{found[model]:.2f} × ({model})"

    bounds = [row["share_of_bound"] for row in folder.values() if "share_of_bound" in row]
    lines = [
        ["one image, over PyTorch eager: geometric mean", "≥ 2.5 ×", f"{geometric_mean(eager.values()):.2f} ×"],
        ["… the least of the models", "≥ 1.0 ×", least(eager)],
        ["one image, over OpenVINO float32: geometric mean", "≥ 1.0 ×", f"{geometric_mean(openvino.values()):.2f} ×"],
        ["… the least of the models", "≥ 0.9 ×", least(openvino)],
        [
            "1,000 of 500×375, resnet50, over the PyTorch script",
            "≥ 2.2 ×",
            f"{over('resnet50', 500, 'torchless'):.2f} ×",
        ],
        ["… mobilenet_v3_small", "≥ 2 ×", f"{over('mobilenet_v3_small', 500, 'torchless'):.2f} ×"],
        [
            "200 of 4000×3000, mobilenet_v3_small, exact",
            "≥ 1.2 ×",
            f"{over('mobilenet_v3_small', 4000, 'torchless'):.2f} ×",
        ],
        ["… `--decode fast`", "≥ 4 ×", f"{over('mobilenet_v3_small', 4000, 'torchless_fast'):.2f} ×"],
        ["folders, of the bound", "≥ 0.9", f"{min(bounds):.2f} to {max(bounds):.2f}"],
        [
            "cold start of resnet50, of the short script's",
            "≤ 1.15 ×",
            f"{cold['torchless'] / cold['onnxruntime']:.2f} ×",
        ],
        ["… over the PyTorch script", "≥ 8 ×", f"{cold['pytorch'] / cold['torchless']:.1f} ×"],
        ["preprocessing 500×375, over torchvision, bit-exact", "≥ 1.5 ×", f"{first['exact_ratio']:.2f} ×"],
        ["memory, last tenth against second", "within 5 %", ", ".join(f"{change:+.1%}" for change in grown)],
        ["… peak, of bare ONNX Runtime's", "≤ 1.2 ×", ", ".join(f"{ratio:.2f} ×" for ratio in peaks)],
        ["installed size, of PyTorch's", "≤ 1/20", f"1/{sizes['pytorch'] / sizes['runtime']:.1f}"],
    ]
    parts = (results[name] for name in ("forward", "folders", "cold_start", "preprocessing", "memory", "size"))
    return f"{table(['', 'goal', 'measured'], lines)}\n\n{measured(*parts)}"


def readme(results: Row) -> str:
    """The README's few lines."""
    images = by_model(results["forward"]["found"])
    rows = [
        [model, *(f"{images[model][peer]['p50_ms']:.1f} ms" for peer in ("pytorch", "torchless")), f"{ratio:.1f} ×"]
        for model, ratio in ratios(results["forward"]["found"], "pytorch").items()
        if model in ("mobilenet_v3_small", "resnet50", "vit_b_16")
    ]
    folder = {
        (row["model"], row["size"][0], row["case"]): row["images_per_second"] for row in results["folders"]["found"]
    }
    for model in ("mobilenet_v3_small", "resnet50"):
        script, own = (folder[model, 500, case] for case in ("pytorch", "torchless"))
        rows.append(
            [f"1,000 photos through {model}", f"{script:.0f} images/s", f"{own:.0f} images/s", f"{own / script:.1f} ×"]
        )
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
    rows.append(
        [
            "installed",
            f"{sizes['pytorch']:.0f} MB",
            f"{sizes['runtime']:.0f} MB",
            f"1/{sizes['pytorch'] / sizes['runtime']:.0f}",
        ]
    )
    parts = (results[name] for name in ("forward", "folders", "cold_start", "size"))
    return f"{table(['', 'PyTorch', 'torchless', ''], rows)}\n\n{measured(*parts)}"


def draw(rows: list[Row]) -> bytes:
    """For each model a point for each peer: how many times as fast as PyTorch eager."""
    figure, axes = new_plot(8, 4.2)
    models = sorted(
        by_model(rows).items(), key=lambda item: item[1]["pytorch"]["p50_ms"] / item[1]["torchless"]["p50_ms"]
    )
    styles = {
        "torchless": ("o", LIGHT.accent, 8), "onnxruntime": (".", (LIGHT.accent, 0.6), 7),
        "openvino": ("D", LIGHT.warm, 5), "pytorch_compile": ("s", LIGHT.bad, 5),
        "pytorch_channels_last": ("^", (LIGHT.bad, 0.6), 5),
    }  # fmt: skip
    for number, (_, peers) in enumerate(models):
        axes.plot(
            [1, peers["pytorch"]["p50_ms"] / peers["torchless"]["p50_ms"]], [number, number], color=LIGHT.line, zorder=0
        )
    for peer, (marker, color, width) in styles.items():
        values = [peers["pytorch"]["p50_ms"] / peers[peer]["p50_ms"] for _, peers in models]
        axes.plot(
            values, range(len(models)), marker, color=color, markersize=width, label=NAMES[peer], linestyle="none"
        )
    axes.axvline(1, color=LIGHT.soft, linestyle=":", label="PyTorch eager")
    axes.set_yticks(range(len(models)), [name for name, _ in models])
    axes.set(xscale="log", xlabel="times as fast as PyTorch eager, one image")
    axes.set_xticks([0.25, 0.5, 1, 2, 4, 8], ["¼", "½", "1", "2", "4", "8"])
    axes.minorticks_off()
    axes.legend(loc="lower right", frameon=False)
    return svg_of(figure)
