"""What the figures of `make bench` come to: docs/performance.md's plot, and the README's few lines."""

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured
from rendering.performance import NAMES, by_model, ratios
from rendering.plot import new_plot, svg_of
from torchless.palette import LIGHT


def readme(results: Row) -> str:
    """The README's few lines."""
    images = by_model(results["forward"]["found"])
    rows = [
        [model, *(f"{images[model][peer]['p50_ms']:.1f} ms" for peer in ("pytorch", "torchless")), f"{ratio:.1f} ×"]
        for model, ratio in ratios(results["forward"]["found"], "pytorch").items()
        if model in ("mobilenet_v3_small", "resnet50", "vit_b_16")
    ]
    for model in ("mobilenet_v3_small", "resnet50"):
        rates = {
            (row["case"], row["images"]): row["images_per_second"]
            for row in results["folders"]["found"]
            if (row["model"], row["size"][0]) == (model, 500)
        }
        count = max(images for case, images in rates if case == "pytorch")
        script, own = rates["pytorch", count], rates["torchless", count]
        what = f"{count:,} photos through {model}"
        rows.append([what, f"{script:.0f} images/s", f"{own:.0f} images/s", f"{own / script:.1f} ×"])
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
