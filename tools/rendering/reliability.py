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


def attacks(figures: Row) -> str:
    """A line for each attack: what the users of the server noticed, and the memory it took."""
    columns = ("attack", "answers/s", "undisturbed", "p99 ms", "undisturbed", "other answers", "most memory MB")
    lines = [
        (
            row["what"],
            f"{row['attacked']['answers_per_second']:.1f}",
            f"{row['undisturbed']['answers_per_second']:.1f} (× {row['share']:.2f})",
            f"{row['attacked']['p99_ms']:.0f}",
            f"{row['undisturbed']['p99_ms']:.0f} (× {row['p99_times']:.1f})",
            sum(row["attacked"]["other"].values()),
            f"{row['peak_mb']:.0f}",
        )
        for row in figures["rows"]
    ]
    most = max(row["peak_mb"] for row in figures["rows"])
    bound = figures["memory_bound_mb"]
    held = f"at most {most:.0f} MB of memory, {'within' if most <= bound else 'above'} the bound of {bound} MB"
    load = f"{figures['model']}, {figures['users']} users, {figures['seconds']:g} s each"
    where = f"{figures['machine']['processor']}, on {figures['date']}"
    return f"{table(columns, lines)}\n\nThe server took {held}. {load}; {where}."


def worker_kills(rows: Row) -> str:
    """What came of killing the processes of a server."""
    row = rows["serve"]
    columns = (
        "kills",
        "answers",
        "of another model",
        "died with their worker",
        "not in the log",
        "no answer for a minute",
        "left behind",
    )
    names = ("kills", "answers", "wrong", "cut", "unnamed", "silent", "left")
    return f"{table(columns, [tuple(row[name] for name in names)])}\n\n`serve --workers 2`, on {row['date']}."
