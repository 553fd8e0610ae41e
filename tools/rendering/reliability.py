"""docs/reliability.md: what `make fuzz` and `make faults` tried, and what came of it."""

from collections.abc import Iterator

from rendering import Row
from rendering.markdown import table
from rendering.origin import measured

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


def fuzz(rows: Row) -> str:
    """A line for each kind of changed inputs."""
    columns = ("changed inputs", "how many", "answered", "clear error", "found", "slowest s", "most memory MB")
    versions = ", ".join(f"{name} {number}" for name, number in next(iter(rows.values()))["versions"].items())
    total = sum(row["inputs"] for row in rows.values())
    said = f"{total:,} inputs, one core; {versions}. {measured(*rows.values())}"
    return f"{table(columns, _fuzz_rows(rows))}\n\n{said}"


def _fuzz_rows(rows: Row) -> Iterator[tuple[object, ...]]:
    for name, row in sorted(rows.items(), key=lambda item: list(_WHAT).index(item[0])):
        answered = row["outcomes"].get("result", 0) + row["outcomes"].get("200", 0)
        errors = row["inputs"] - answered - row["findings"]
        counts = (f"{row['inputs']:,}", f"{answered:,}", f"{errors:,}", row["findings"])
        yield (_WHAT[name], *counts, f"{row['slowest_s']:.1f}", row["most_memory_mb"])


def kills(rows: Row) -> str:
    """A line for each command that was killed."""
    columns = (
        "command",
        "kills",
        "no output yet",
        "whole",
        "half",
        "work lost",
        "runs",
        "finished afterwards",
        "temporary file stays",
    )
    kept = ("kills", "absent", "whole", "half", "lost", "runs", "finished", "hidden")
    lines = ((what, *(rows[name][column] for column in kept)) for name, what in _KILLED.items() if name in rows)
    total = sum(row["kills"] for row in rows.values())
    return f"{table(columns, lines)}\n\n{total} kills, one core. {measured(*rows.values())}"
