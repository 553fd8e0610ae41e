"""The sections of what `make bench` measures: where and when each was measured, and what was measured again."""

from collections.abc import Callable, Iterator
from statistics import median
from typing import Any

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured


def section(render: Callable[[Any], str]) -> Callable[[Row], str]:
    """What `render` makes of the figures of one section of the file, and where and when these were measured."""

    def rendered(part: Row) -> str:
        return f"{render(part['found'])}\n\n{measured(part)}"

    return rendered


def machine(results: Row) -> str:
    """Where, when and with what: a line for each machine, day and set of versions, with the sections measured so."""
    groups: dict[str, list[str]] = {}
    for name, part in results.items():
        versions = ", ".join(f"{package} {number}" for package, number in part["versions"].items())
        groups.setdefault(f"{measured(part)} {versions}.", []).append(name)
    if len(groups) == 1:
        return next(iter(groups))
    return "\n".join(f"- {', '.join(names)}: {where}" for where, names in groups.items())


AGAIN = ("mobilenet_v3_small", "densenet121", "efficientnet_b0")
METHODS = {"torchless": "torchless", "onnxruntime": "bare ONNX Runtime", "openvino": "OpenVINO", "compare": "`compare`"}


def again(results: Row, comparison: Row) -> str:
    """What the first measurements said; then the median and the range of many rounds, by each method."""
    first = [f"- {line}" for line in _at_first(results["forward"], comparison)]
    part = results.get("again")
    second = ["They have not been measured again yet."] if part is None else [*_rounds(part["found"]), measured(part)]
    return "\n\n".join(["\n".join(first), *second])


def _at_first(forward: Row, comparison: Row) -> Iterator[str]:
    """The times of these models by the bench and by compare, each with the range of its rounds."""
    compared = {row["model"]: row["cpu"] for row in comparison["rows"]}
    rows = {(row["model"], row["peer"]): row for row in forward["found"]}
    for model in AGAIN:
        said = [
            f"{METHODS[peer]} {row['p50_ms']:.2f} ({row['least_ms']:.2f}–{row['most_ms']:.2f})"
            for peer in METHODS
            if (row := rows.get((model, peer))) is not None
        ]
        if (cpu := compared.get(model)) is not None:
            said.append(f"`compare` {cpu['single']['p50_ms']:.2f} ({cpu['low_ms']:.2f}–{cpu['high_ms']:.2f})")
        yield f"{model}, ms, with the range of the rounds: {', '.join(said)}."


def _rounds(rows: list[Row]) -> Iterator[str]:
    medians = {(row["model"], row["method"]): median(row["p50_ms"]) for row in rows}
    lines = [
        [
            f"{row['model']}, {METHODS[row['method']]}",
            *(f"{value(row['p50_ms']):.2f}" for value in (median, min, max)),
            f"{medians[row['model'], row['method']] / medians[row['model'], 'torchless']:.2f} ×",
        ]
        for row in rows
    ]
    count = len(rows[0]["p50_ms"])
    yield table([f"ms, {count} rounds", "median", "quickest round", "slowest", "of torchless's median"], lines)
