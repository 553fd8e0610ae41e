"""The processes of a Ray cluster on this machine, as tests see and await them."""

import time
from collections.abc import Callable
from pathlib import Path

from tests.surroundings import PATIENCE_S


def ray_processes(title: str) -> list[int]:
    """The numbers of those whose title begins with it: Ray writes what they are, and what they do, into their command
    lines.
    """
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (entry / "cmdline").read_bytes().startswith(f"ray::{title}".encode()):
                    found.append(int(entry.name))
            except OSError:  # it has just ended
                pass
    return sorted(found)


def wait_until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)
