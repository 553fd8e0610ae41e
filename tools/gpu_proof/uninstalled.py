"""Runs torchless from this checkout without installing it: python tools/gpu_proof/uninstalled.py prints a PYTHONPATH.

What an installation adds, its name, version and entry points, is written into build/uninstalled. Needs no package.
"""

import os
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


def write_metadata(folder: Path) -> None:
    """What importlib.metadata reads of an installed torchless."""
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = folder / f"torchless-{project['version']}.dist-info"
    found.mkdir(parents=True, exist_ok=True)
    (found / "METADATA").write_text(f"Metadata-Version: 2.1\nName: torchless\nVersion: {project['version']}\n")
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    lines = [
        line for name, entries in groups.items() for line in (f"[{name}]", *(f"{k} = {v}" for k, v in entries.items()))
    ]
    (found / "entry_points.txt").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Prints the folders, this checkout's first, then those of PYTHONPATH as it is."""
    folder = ROOT / "build" / "uninstalled"
    write_metadata(folder)
    given = filter(None, [os.environ.get("PYTHONPATH")])
    print(os.pathsep.join([*map(str, (ROOT / "tools", ROOT / "runtime", ROOT / "export", folder)), *given]))


if __name__ == "__main__":
    main()
