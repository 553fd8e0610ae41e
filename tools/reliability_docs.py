"""Fills in what docs/reliability.md says of figures/reliability.json. `make fuzz` and `make faults` run it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import fill, table

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = ROOT / "figures" / "reliability.json", ROOT / "docs" / "reliability.md"
_WHAT = {
    "classifier": "images through `Classifier`, exact and fast",
    "infer": "image files through `infer`",
    "http": "HTTP requests, server in the same process",
    "server": "HTTP requests to `torchless serve`",
    "manifests": "manifests in an artifact",
    "models": "ONNX files",
    "checkpoints": "checkpoints (`.pth`, `.safetensors`)",
    "labels": "label files",
}
_KILLED = {
    "parquet": "`infer -o rows.parquet`",
    "jsonl": "`infer -o rows.jsonl`",
    "evaluate": "`evaluate -o answers.csv`",
    "compare": "`compare`",
    "export": "`export`",
    "quantize": "`quantize`",
}


def read() -> dict[str, Any]:
    """The committed figures."""
    document: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return document


def parts(document: dict[str, Any]) -> dict[str, str]:
    """What docs/reliability.md copies, by the name of the part."""
    return {"fuzz": _fuzz(document["fuzz"]), "kills": _kills(document.get("kills", {}))}


def _fuzz(rows: dict[str, Any]) -> str:
    columns = ("changed inputs", "how many", "answered", "clear error", "found", "slowest s", "most memory MB")
    versions = ", ".join(f"{name} {number}" for name, number in next(iter(rows.values()))["versions"].items())
    dates = sorted({row["date"] for row in rows.values()})
    total = sum(row["inputs"] for row in rows.values())
    return f"{table(columns, _fuzz_rows(rows))}\n\n{total:,} inputs, on {', '.join(dates)}, one core; {versions}."


def _fuzz_rows(rows: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, row in sorted(rows.items(), key=lambda item: list(_WHAT).index(item[0])):
        answered = row["outcomes"].get("result", 0) + row["outcomes"].get("200", 0)
        errors = row["inputs"] - answered - row["findings"]
        counts = (f"{row['inputs']:,}", f"{answered:,}", f"{errors:,}", row["findings"])
        yield (_WHAT[name], *counts, f"{row['slowest_s']:.1f}", row["most_memory_mb"])


def _kills(rows: dict[str, Any]) -> str:
    columns = ("command", "kills", "no output yet", "whole", "half", "work lost", "runs", "finished afterwards", "temporary file stays")
    kept = ("kills", "absent", "whole", "half", "lost", "runs", "finished", "hidden")
    lines = ((what, *(rows[name][column] for column in kept)) for name, what in _KILLED.items() if name in rows)
    total = sum(row["kills"] for row in rows.values())
    dates = sorted({row["date"] for row in rows.values()})
    return f"{table(columns, lines)}\n\n{total} kills, on {', '.join(dates)}, one core."


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), parts(read())), encoding="utf-8")


if __name__ == "__main__":
    main()
