"""Exports six families of networks with several versions of torch, each in an environment of its own, and proves them.

    make torch-versions                        VERSIONS, from the oldest that pyproject.toml admits to the newest
    make torch-versions ARGS='2.6.0 2.15.0'    these; the rows of the others stay

An environment holds what pip takes for `torchless[export,cpu]` beside that torch: several GB, one at a time, removed
afterwards. Nothing of it stays in pip's cache.
"""

import json
import shutil
import subprocess
import sys
import time
import venv
from datetime import UTC, datetime
from pathlib import Path

import zoo
from zoo import Row

ROOT = Path(__file__).parents[1]
RESULTS, FOLDER = ROOT / "figures" / "torch-versions.json", ROOT / "build" / "torch-versions"

VERSIONS = ("2.6.0", "2.8.0", "2.10.0", "2.12.1", "2.15.0")
MODELS = ("resnet18", "mobilenet_v3_small", "efficientnet_b0", "shufflenet_v2_x0_5", "squeezenet1_1", "swin_t")
IMAGE_SIZE = 64  # small and quick: the operators are those of 224
PACKAGES = ("torchvision", "onnx", "onnxscript", "onnxruntime", "numpy")


def prove(version: str) -> Row:
    """A row: the packages that pip chose beside that torch, and how each export went; or why pip failed."""
    row: Row = {"torch": version, "python": ".".join(map(str, sys.version_info[:3])), "date": f"{datetime.now(UTC):%F}"}
    start = time.monotonic()
    try:
        python = _install(version)
        row |= {"install_s": round(time.monotonic() - start), "packages": _versions(python)}
        return row | {"models": [zoo.export(name, python=python, image_size=IMAGE_SIZE) for name in MODELS]}
    except subprocess.CalledProcessError as error:
        return row | {"error": error.stderr[-2000:], "models": []}
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def _install(version: str) -> Path:
    """The interpreter of a new environment."""
    venv.create(FOLDER, clear=True, with_pip=True)
    python = FOLDER / "bin" / "python"
    wanted = (f"{ROOT}[export,cpu]", f"torch=={version}")
    pip = (python, "-m", "pip", "install", "--quiet", "--no-cache-dir", "--no-compile", "--disable-pip-version-check")
    subprocess.run([*pip, *wanted], check=True, capture_output=True, text=True)
    return python


def _versions(python: Path) -> Row:
    code = (
        "import importlib.metadata as m, json, sys; print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    found: Row = json.loads(subprocess.run([python, "-c", code, *PACKAGES], check=True, capture_output=True).stdout)
    return found


def passed(row: Row) -> bool:
    """Whether every family passed the gate with this torch."""
    return bool(row["models"]) and all(model["passed"] for model in row["models"])


def main(*versions: str) -> int:
    """Proves these versions, VERSIONS without any; the number that failed. Writes each row as soon as it is there."""
    zoo.FOLDER.mkdir(parents=True, exist_ok=True)
    earlier = json.loads(RESULTS.read_text())["rows"] if versions and RESULTS.exists() else []
    rows = {row["torch"]: row for row in earlier}
    for version in versions or VERSIONS:
        print(f"torch {version} …", end=" ", flush=True)
        row = rows[version] = prove(version)
        print("ok" if passed(row) else f"FAILED {row.get('error', '')}", flush=True)
        ordered = sorted(rows.values(), key=lambda row: [int(part) for part in row["torch"].split(".")])
        left = [version for version in VERSIONS if version not in rows]
        RESULTS.write_text(json.dumps({"image_size": IMAGE_SIZE, "not_tried": left, "rows": ordered}, indent=1) + "\n")
    return sum(not passed(rows[version]) for version in versions or VERSIONS)


if __name__ == "__main__":
    raise SystemExit(1 if main(*sys.argv[1:]) else 0)
