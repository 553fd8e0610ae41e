"""make clients: installs each client into an environment of its own, and writes what works.

python -m tests.clients figures/clients.json
"""

import json
import subprocess
import sys
import tempfile
import venv
from datetime import UTC, datetime
from pathlib import Path

from tests.clients import PACKAGES, failures, run_client, serving
from tests.clients.perf_analyzer import run_perf_analyzer
from tests.conftest import REPO

ENVIRONMENTS = REPO / "build" / "clients"


def python_of(name: str) -> Path:
    """The interpreter of an environment with the client, made if it is not there."""
    folder = ENVIRONMENTS / name
    if not (folder / "done").exists():
        sys.stderr.write(f"installing {' '.join(PACKAGES[name])}\n")
        venv.create(folder, with_pip=True, clear=True)
        install = [folder / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check", *PACKAGES[name]]
        subprocess.run(install, check=True)
        (folder / "done").touch()
    return folder / "bin" / "python"


def main(path: Path) -> int:
    """The number of calls that failed."""
    rows = []
    with tempfile.TemporaryDirectory() as folder, serving(REPO / "tests" / "data" / "tiny.onnx", Path(folder)) as about:
        for name in PACKAGES:
            python = python_of(name)

            def run(*arguments: object, python: Path = python) -> str:
                command = [str(python), *map(str, arguments)]
                return subprocess.run(command, check=True, capture_output=True, text=True).stdout

            rows.append(run_client(name, run, about))
        rows.append(run_perf_analyzer(about, ENVIRONMENTS / "perf_analyzer"))
    path.write_text(json.dumps({"date": f"{datetime.now(UTC):%F}", "rows": rows}, indent=1) + "\n")
    failed = failures(rows)
    sys.stderr.write("\n".join(failed or [f"{path}: all calls work"]) + "\n")
    return len(failed)


if __name__ == "__main__":
    raise SystemExit(1 if main(Path(sys.argv[1])) else 0)
