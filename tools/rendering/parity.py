"""docs/parity.md: the calibration of the limit, its plot, and the mutation table."""

from rendering import Row
from rendering.origin import measured
from rendering.plot import new_plot, svg_of
from torchless.palette import LIGHT
from torchless_export.gate.limits import MAX_UNITS


def measured_in_units(zoo: Row) -> list[Row]:
    """The rows with a unit, worst first; `units` is the worse of noise and photos."""
    rows = [
        {"model": row["model"], "units": max(found["units"] for found in row["sets"].values())}
        for row in zoo["models"]
        if row["passed"] and row["rule"] == "float64"
    ]
    return sorted(rows, key=lambda row: -row["units"])


def calibration(zoo: Row, seeds: Row) -> str:
    """How far the zoo stands from the limit."""
    rows, runs = measured_in_units(zoo), seeds["runs"]
    values = [row["units"] for row in rows]
    worst = ", ".join(f"{row['model']} {row['units']:.2f}" for row in rows[:5])
    again = [max(found["units"] for found in run["sets"].values()) for run in runs if run["passed"]]
    spread = [row for row in zoo["models"] if row["passed"] and row["rule"] == "spread"]
    others = "; ".join(f"{row['model']} {row['max_abs_error'] / row['spread']:.1e} of the spread" for row in spread)
    how_many, passing = (
        f"{len(rows)} of {len(zoo['models'])} networks are measured in units",
        sum(run["passed"] for run in runs),
    )
    middle, seeded = values[len(values) // 2], f"{len(runs)} exports of {runs[0]['model']}"
    lines = (
        f"{sum(row['passed'] for row in zoo['models'])} of {len(zoo['models'])} networks pass.",
        f"{how_many}. The median is {middle:.2f}, the worst {values[0]:.2f}, the limit {MAX_UNITS:g}.",
        f"The five worst: {worst}.",
        f"Too large for float64, and so checked by their share of the logits' spread: {others or 'none'}.",
        f"{passing} of {seeded} with other seeds pass, at {min(again):.2f} to {max(again):.2f} units.",
    )
    said = "\n".join(f"- {line}" for line in lines)
    return f"{said}\n\n{measured(zoo, seeds)}"


def batching(zoo: Row) -> str:
    """How far the logits of an image move with its place in a batch."""
    figures = {row["model"]: row["batching"] for row in zoo["models"] if row["passed"]}
    moved = sorted((name for name, figure in figures.items() if figure > 0), key=lambda name: -figures[name])
    others = f"; of the others ({', '.join(moved)}) by {figures[moved[0]]:.2f} units at most" if moved else ""
    still = f"{len(figures) - len(moved)} of {len(figures)}"
    return f"Of {still} networks the logits do not move at all, to the last bit{others}."


def mutation_table(found: Row) -> str:
    """Mutation, caught by, figure, limit, place or likely cause."""
    lines = [
        "| mutation | model | caught by | figure | limit | where it broke, or the likely cause |",
        "| --- | --- | --- | ---: | ---: | --- |",
    ]
    for row in found["rows"]:
        caught = ", ".join(f"`{name}`" for name in row["caught_by"]) or "nothing: it is equivalent (below)"
        figure = (
            "–"
            if row["figure"] is None
            else f"{row['figure']:,.3g}"
            if row["figure"] < 1000
            else f"{row['figure']:,.0f}"
        )
        limit = "–" if row["limit"] is None else f"{row['limit']:.3g}"
        lines.append(f"| {row['mutation']} | {row['model']} | {caught} | {figure} | {limit} | {row['place'] or '–'} |")
    return "\n".join([*lines, "", measured(found)])


def departure(rows: list[Row]) -> str:
    """What the gate says of one of them."""
    row = next(row for row in rows if "eps" in row["mutation"])
    return "\n".join(f"    {line}" for line in row["said"].splitlines())


def draw(zoo: Row) -> bytes:
    """A point for each network and set of images, in units of PyTorch's own error; the limit as a line."""
    figure, axes = new_plot(8, 3.4)
    rows = [row for row in zoo["models"] if row["passed"] and row["rule"] == "float64"]
    for name, color in (("random", LIGHT.faint), ("photos", LIGHT.accent)):
        values = sorted(row["sets"][name]["units"] for row in rows)
        axes.plot(
            values,
            range(1, len(values) + 1),
            "o",
            markersize=4,
            color=color,
            label=f"{'noise' if name == 'random' else name}",
        )
    axes.axvline(1, color=LIGHT.soft, linestyle=":", label="PyTorch's own error")
    axes.axvline(MAX_UNITS, color=LIGHT.bad, linestyle="--", label=f"the limit, {MAX_UNITS:g}")
    axes.set(
        xscale="log", xlabel="ONNX Runtime's largest error ÷ PyTorch's own largest error", ylabel="networks up to here"
    )
    axes.set_xticks([0.3, 0.5, 1, 2, 3, 5], ["0.3", "0.5", "1", "2", "3", "5"])
    axes.minorticks_off()
    axes.legend(loc="upper left", frameon=False)
    return svg_of(figure)
