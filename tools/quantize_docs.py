"""Fills in what docs/quantize.md says of real weights, from what `torchless inspect --json` printed of the int8 files.

python tools/quantize_docs.py artifacts/efficientnet_lite0.int8.onnx artifacts/digits/digits.int8.onnx      keeps the figures, then fills in
python tools/quantize_docs.py                                                                               fills in
"""

import json
import sys
from pathlib import Path
from typing import Any

from pages import fill, table
from torchless.model.inspection import inspect_model

ROOT = Path(__file__).parents[1]
FIGURES, PAGE = ROOT / "figures" / "quantize", ROOT / "docs" / "quantize.md"
NAMES = ("efficientnet_lite0", "digits")

Row = dict[str, Any]


def figures(path: Path) -> Row:
    """What is kept of an int8 file: the gate's verdict and how the file was made."""
    manifest = inspect_model(path).to_dict()["manifest"]
    return {"parity": manifest["parity"], "reduction": manifest["reduction"]}


def part(found: Row) -> str:
    """The file's size and speed, what stayed in float32, and the checks."""
    made, pace = found["reduction"], found["reduction"]["pace"]
    ratio = pace["float_ms"] / pace["ms"]
    processor = f"{pace['threads']} thread{'s' * (pace['threads'] > 1)} of {pace['processor']}"
    lines = [
        ["size", f"{pace['float_bytes'] / 1e6:.1f} MB", f"{pace['bytes'] / 1e6:.1f} MB", f"{pace['bytes'] / pace['float_bytes']:.2f} ×"],
        ["one image", f"{pace['float_ms']:.2f} ms", f"{pace['ms']:.2f} ms", f"{ratio:.2f} × as fast"],
    ]
    layers = [name for name in made["kept_float"] if name.startswith("node_")]
    kept = f"{len(layers)} layers stayed in float32, {', '.join(layers[:3])} first" if layers else "No layer had to stay in float32"
    checks = [[check["name"], f"{check['figure']:.4g}", f"{check['limit']:.4g}", check["detail"]] for check in found["parity"]["checks"]]
    return "\n\n".join(
        [
            table(["", "float32", "int8", ""], lines),
            f"{kept}. {made['calibration']['images']} images calibrated; {processor}.",
            table(["check", "figure", "limit", ""], checks),
        ]
    )


def parts() -> dict[str, str]:
    """What the page's parts hold."""
    return {name: part(json.loads((FIGURES / f"{name}.json").read_text())) for name in NAMES}


def main() -> None:
    for name, path in zip(NAMES, sys.argv[1:], strict=False):
        FIGURES.mkdir(exist_ok=True)
        (FIGURES / f"{name}.json").write_text(json.dumps(figures(Path(path)), indent=1, ensure_ascii=False) + "\n")
    PAGE.write_text(fill(PAGE.read_text(), parts()))


if __name__ == "__main__":
    main()
