"""Proves the wheel in each Python that is here: installs it there with the extra `cpu`, classifies an image, and runs
the tests of the rooms that need no other extra.

    make python-versions                                    those of NAMES that are on PATH; the others are listed
    make python-versions ARGS='python3.12 /opt/python3.14t' these; the rows of the others stay

Each gets an environment of its own, one at a time, removed afterwards.
"""

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS, FOLDER = ROOT / "figures" / "python-versions.json", ROOT / "build" / "python-versions"

NAMES = ("python3.11", "python3.12", "python3.13", "python3.13t", "python3.14", "python3.14t")
ROOMS = ("ground", "model", "image", "engine")
# Test images, and what changes models. The signatures' tests need an extra.
TESTS_NEED = ("pytest>=9", "hypothesis>=6.150", "protobuf>=5", "scikit-image>=0.25")
LEFT_OUT = ("tests/runtime/model/test_signing.py",)
PACKAGES = ("numpy", "pillow", "onnxruntime")
ABOUT = """
import json, platform, sys
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
print(json.dumps({"python": platform.python_version(), "gil": gil}))
"""
INSTALLED = """
import importlib.metadata, json, sys
print(json.dumps({name: importlib.metadata.version(name) for name in sys.argv[1:]}))
"""

Row = dict[str, Any]


def prove(name: str, wheel: Path) -> Row:
    """A row: what this interpreter is, what pip installed, and how the tests went; or why something failed."""
    row: Row = {"name": Path(name).name, "date": f"{datetime.now(UTC):%F}", "passed": False}
    start = time.monotonic()
    try:
        row |= json.loads(_run(name, "-c", ABOUT))
        python = _install(name, wheel)
        row["packages"] = json.loads(_run(python, "-c", INSTALLED, *PACKAGES))
        row["gil_with_packages"] = json.loads(_run(python, "-c", f"import torchless, onnxruntime{ABOUT}"))["gil"]
        model, photo = (
            ROOT / "tests" / "data" / "tiny.onnx",
            ROOT / "export" / "torchless_export" / "photos" / "coffee.jpg",
        )
        _run(python, "-m", "torchless", "infer", model, photo)
        row["tests"] = _test(python)
        row["passed"] = True
    except subprocess.CalledProcessError as error:
        row["error"] = f"{error.stdout}{error.stderr}".strip()[-2000:]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    return row | {"seconds": round(time.monotonic() - start)}


def _install(name: str, wheel: Path) -> Path:
    """The interpreter of a new environment."""
    shutil.rmtree(FOLDER, ignore_errors=True)
    _run(name, "-m", "venv", FOLDER)
    python = FOLDER / "bin" / "python"
    _run(
        python,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-compile",
        "--only-binary",
        ":all:",
        f"{wheel}[cpu]",
        *TESTS_NEED,
    )
    return python


def _test(python: Path) -> str:
    """pytest's last line."""
    rooms = [ROOT / "tests" / "runtime" / room for room in ROOMS]
    ignored = [f"--ignore={ROOT / path}" for path in LEFT_OUT]
    said = _run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow", *ignored, *rooms, cwd=ROOT)
    return said.strip().splitlines()[-1].partition(" in ")[0]


def _run(*command: object, cwd: Path | None = None) -> str:
    """What it prints. Raises CalledProcessError where it fails."""
    words = list(map(str, command))
    return subprocess.run(words, cwd=cwd, check=True, capture_output=True, text=True).stdout


def _is_here(name: str) -> bool:
    """Whether it runs: of some programs on PATH nothing but a stand-in is installed."""
    found = shutil.which(name)
    return found is not None and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0


def _build_wheel(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    _run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT)
    (wheel,) = folder.glob("*.whl")
    return wheel


def main(names: Sequence[str]) -> int:
    """Proves these interpreters, those of NAMES without any; the number that failed."""
    rows = {row["name"]: row for row in json.loads(RESULTS.read_text())["rows"]} if names and RESULTS.exists() else {}
    asked = names or NAMES
    wheel = _build_wheel(ROOT / "build" / "python-versions-wheel")
    for name in asked:
        if not _is_here(name):
            print(f"{name}: not here")
            continue
        print(f"{name} …", end=" ", flush=True)
        row = rows[Path(name).name] = prove(name, wheel)
        print(row.get("tests") or f"FAILED\n{row['error']}", flush=True)
        order = [*NAMES, *(set(rows) - set(NAMES))]
        ordered = sorted(rows.values(), key=lambda row: order.index(row["name"]))
        found = {"not_tried": [name for name in NAMES if name not in rows], "rows": ordered}
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    return sum(not row["passed"] for row in rows.values())


if __name__ == "__main__":
    raise SystemExit(1 if main(sys.argv[1:]) else 0)
