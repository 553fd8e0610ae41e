"""Puts what `infer --format json` printed into a file of figures: make picture."""

import json
import sys
from pathlib import Path

from torchless.doctor.machine import here

if __name__ == "__main__":
    document = {**here(), "model": "efficientnet_lite0", "rows": json.load(sys.stdin)}
    Path(sys.argv[1]).write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
