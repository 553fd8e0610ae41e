"""docs/zoo.md: every torchvision classifier, exported through the gate by tools/zoo.py."""

from rendering import Row
from rendering.origin import measured
from torchless_export.gate.limits import RELATIVE_LIMIT
from zoo import IMAGE_SIZES


def count(results: Row) -> str:
    """How many pass, and with what."""
    rows, versions = results["models"], ", ".join(f"{name} {number}" for name, number in results["versions"].items())
    passed = f"{sum(row['passed'] for row in rows)} of {len(rows)} torchvision classifiers pass the gate"
    return f"{passed}, with {versions}. {measured(results)}"


def models(results: Row) -> str:
    """A line for each model, and why those failed that did."""
    head = "| model | parameters | pixels | file MB | exporter | error | PyTorch's own | units | variation | seconds "
    lines = [
        f"{head}| peak memory MB |",
        "| --- | ---: | ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    return "\n".join([*lines, *map(_line, results["models"]), "", *_footnotes(results["models"])]).rstrip()


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
    spread = [row for row in rows if row["passed"] and row["rule"] == "spread"]
    shares = ", ".join(f"{row['model']} {row['max_abs_error'] / row['spread']:.1e}" for row in spread)
    large = "\\* too large for a float64 copy, and so checked by its share of the spread"
    data = "*+ data*: the weights are in one `NAME.onnx.data` beside it."
    notes = [
        f"{large}, at most {RELATIVE_LIMIT:.0e}: {shares or 'none'}.",
        "",
        f"Each at the image size of its default weights, except {sized} pixels. {data}",
        "",
    ]
    for row in rows:
        if not row["passed"]:
            notes += [f"## {row['model']}", "", "```", row["error"].strip(), "```", ""]
    return notes
