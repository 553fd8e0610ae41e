"""The processes of a Ray cluster on this machine, as tests see and await them."""

from pathlib import Path


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
