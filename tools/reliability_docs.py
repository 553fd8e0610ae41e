"""Fills in what docs/reliability.md says of docs/reliability.json. `make fuzz` and `make faults` run it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pages import fill, table

DOCS = Path(__file__).parents[1] / "docs"
FIGURES, PAGE = DOCS / "reliability.json", DOCS / "reliability.md"
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
    missing = [what for name, what in _WHAT.items() if name not in rows]
    note = f" Not measured since the last repair: {', '.join(missing)}." if missing else ""
    return f"{table(columns, _fuzz_rows(rows))}\n\n{total:,} inputs, on {', '.join(dates)}, one core; {versions}.{note}"


def _fuzz_rows(rows: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, row in sorted(rows.items(), key=lambda item: list(_WHAT).index(item[0])):
        answered = row["outcomes"].get("result", 0) + row["outcomes"].get("200", 0)
        errors = row["inputs"] - answered - row["findings"]
        counts = (f"{row['inputs']:,}", f"{answered:,}", f"{errors:,}", row["findings"])
        yield (_WHAT[name], *counts, f"{row['slowest_s']:.1f}", row["most_memory_mb"])


def _kills(rows: dict[str, Any]) -> str:
    if not rows:
        return "Not measured yet."
    columns = ("command", "kills", "with nothing there yet", "with the whole file there", "half a file", "runs that were finished after")
    total = sum(row["kills"] for row in rows.values())
    lines = (
        (f"`{name}`", row["kills"], row["absent"], row["whole"], row["half"], f"{row['finished']} of {row['of']}") for name, row in rows.items()
    )
    return f"{table(columns, lines)}\n\n{total} kills."


def main() -> None:
    """Rewrites the page."""
    PAGE.write_text(fill(PAGE.read_text(encoding="utf-8"), parts(read())), encoding="utf-8")


if __name__ == "__main__":
    main()
