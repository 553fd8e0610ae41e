"""What the manifest of an int8 file says of the gate and of how it was made: prints JSON, which docs/quantize.md shows.
On the machine, and on the day, that made the file: its times are in its manifest.

python bench/int8.py artifacts/efficientnet_lite0.int8.onnx > figures/quantize/efficientnet_lite0.json
python bench/int8.py artifacts/digits/digits.int8.onnx > figures/quantize/digits.json
"""

import json
import sys
from pathlib import Path

from torchless.doctor.machine import here
from torchless.model.inspection import inspect_model


def main(path: Path) -> None:
    manifest = inspect_model(path).to_dict()["manifest"]
    found = here() | {name: manifest[name] for name in ("parity", "reduction")}
    print(json.dumps(found, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
