"""Parts of a page between <!-- begin NAME --> and <!-- end NAME -->, and tables."""

import re
from collections.abc import Iterable


def fill(text: str, parts: dict[str, str]) -> str:
    """`text` with each named part replaced. Raises ValueError where it does not have one of them."""
    for name, content in parts.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        found = pattern.search(text)
        if found is None:
            raise ValueError(f"the page has no part named {name}")
        text = text[: found.start()] + f"{found[1]}{content}\n{found[2]}" + text[found.end() :]
    return text


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table of Markdown: the first column left, numbers in the others right."""
    head = list(columns)
    lines = [head, ["---", *(["---:"] * (len(head) - 1))], *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
