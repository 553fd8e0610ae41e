"""docs/zoo.md: every torchvision classifier, exported through the gate by tools/zoo.py."""

from rendering import Row
from torchless_export.gate.limits import MAX_UNITS, RELATIVE_LIMIT
from zoo import IMAGE_SIZES


def models(results: Row) -> str:
    """The whole page: how many pass, what the columns mean, and a line for each model."""
    rows = results["models"]
    passed = sum(row["passed"] for row in rows)
    versions = ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    lines = [
        f"{passed} of {len(rows)} torchvision classifiers pass the gate. Rendered from `figures/zoo.json`, which `make zoo` wrote with",
        f"{versions} on {results['cpus']} processors.",
        "",
        "Weights are random (`--weights none`), so this tests the network, not its training. *Error* is the largest difference of any",
        "logit between ONNX Runtime and PyTorch in float64; *PyTorch's own* is that of PyTorch in float32 on the same images; *units* is the",
        f"first divided by the second, worst of noise and photos, and may be at most {MAX_UNITS:g} ([parity.md](parity.md)). *Variation* is",
        "how far a logit moves from image to image. Time and memory are those of the whole export, gate included; other work ran on the",
        "machine meanwhile, so the times are upper bounds.",
        "",
        "| model | parameters | pixels | file MB | exporter | error | PyTorch's own | units | variation | seconds | peak memory MB |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*lines, *map(_line, rows), "", *_footnotes(rows)]).rstrip()


def _line(row: Row) -> str:
    cost = f"{row['seconds']:.0f} | {row['peak_memory_mb']:,} |"
    if not row["passed"]:
        return f"| {row['model']} | **failed**, exit code {row['exit_code']} | | | | | | | {cost}"
    size = f"{row['file_mb']:,.1f}{' + data' if row['data_file'] else ''}"
    worst = max(row["sets"].values(), key=lambda found: found["units"] or found["error_of_spread"])
    own, units = ("–", "*") if row["rule"] == "spread" else (f"{worst['own_error']:.1e}", f"{worst['units']:.2f}")
    return (
        f"| {row['model']} | {row['parameters']:,} | {row['image_size']} | {size} | {row['exporter']} "
        f"| {worst['max_abs_error']:.1e} | {own} | {units} | {row['variation']:.2f} | {cost}"
    )


def _footnotes(rows: list[Row]) -> list[str]:
    sized = ", ".join(f"{name} at {size}" for name, size in IMAGE_SIZES.items())
    shares = ", ".join(
        f"{row['model']} {row['max_abs_error'] / row['spread']:.1e}" for row in rows if row["passed"] and row["rule"] == "spread"
    )
    notes = [
        f"\\* too large for a float64 copy, and so checked by its share of the spread, at most {RELATIVE_LIMIT:.0e}: {shares or 'none'}.",
        "",
        f"Each at the image size of its default weights, except {sized} pixels. *+ data*: the weights are in one `NAME.onnx.data` beside it.",
        "",
    ]
    for row in rows:
        if not row["passed"]:
            notes += [f"## {row['model']}", "", "```", row["error"].strip(), "```", ""]
    return notes
