"""Puts what `infer` answers to the demo's photos into a file of figures: make picture.

python tools/demo.py figures/demo.json artifacts/efficientnet_lite0.onnx artifacts/squeezenet1_1.onnx
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from torchless.doctor.machine import here

ROOT = Path(__file__).parents[1]
PHOTOS = [f"export/torchless_export/photos/{name}.jpg" for name in ("coffee", "chelsea", "camera", "rocket")]


def rows(model: Path) -> list[dict[str, Any]]:
    """A row for each photo, as `infer --format json` prints them."""
    command = [sys.executable, "-m", "torchless", "infer", str(model.absolute()), *PHOTOS, "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE)
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    models = [{"model": model.stem, "rows": rows(model)} for model in map(Path, sys.argv[2:])]
    document = json.dumps({**here(), "models": models}, indent=1, ensure_ascii=False)
    Path(sys.argv[1]).write_text(document + "\n", encoding="utf-8")
