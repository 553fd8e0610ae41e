"""What `pip install` is doing, in few lines: pip's own output from standard input, a line for each package that is
fetched, with its size, and what comes after it. Runs in any Python, before anything is installed.

    pip install … | python tools/installing.py
"""

import re
import sys
import time
from collections.abc import Iterable, Iterator

_PACKAGE = re.compile(
    r"\s*(Downloading|Using cached|Processing) (?:\S*/)?([\w.-]+?)-(\d[^-\s]*?)(?:-\S*\.whl|\.tar\.gz)"
    r"(?: \((\d[^)]*)\))?(?:\s|$)"
)


def lines(output: Iterable[str]) -> Iterator[str]:
    """A line for each step in pip's output."""
    count = 0
    for line in output:
        if found := _PACKAGE.match(line):
            count += 1
            how = "fetching" if found[1] == "Downloading" else "have"
            yield f"{count:3}  {how} {found[2]} {found[3]}{f', {found[4]}' if found[4] else ''}"
        elif line.startswith("Installing collected packages:"):
            names = line.partition(":")[2].replace(" ", "").strip().split(",")
            yield f"unpacking {len(names)} packages{'; PyTorch takes a minute' * ('torch' in names)}"
        elif line.startswith("Successfully installed"):
            yield "done"


def main() -> None:
    """Shows each step when it begins, after how many seconds."""
    start = time.monotonic()
    for line in lines(sys.stdin):
        print(f"[{time.monotonic() - start:4.0f} s] {line}", flush=True)


if __name__ == "__main__":
    main()
