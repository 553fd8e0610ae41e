"""docs/serving.md: which calls of which clients work."""

from itertools import chain

from rendering import Row
from rendering.markdown import table


def matrix(found: Row) -> str:
    """A row for each client, a column for each call; a dash where the client has no such call."""
    rows = [(client, calls) for group in found["rows"] for client, calls in group["clients"].items()]
    calls = list(dict.fromkeys(chain.from_iterable(most for _, most in sorted(rows, key=lambda row: -len(row[1])))))
    lines = ([client, *(_cell(done.get(call)) for call in calls)] for client, done in rows)
    versions = "; ".join(
        ", ".join(f"{name} {number}" for name, number in group["versions"].items()) for group in found["rows"]
    )
    return f"{table(['', *calls], lines)}\n\nTried {found['date']} with {versions}."


def _cell(why: str | None) -> str:
    return "–" if why is None else "fails" if why else "yes"
