"""`torchless export` as a whole process, beside torch's two exporters alone: seconds by stage.

    python bench/exporting.py ROUNDS MODEL…

Prints a JSON row for each model: the median of the rounds for the process, its stages and its processor time, and the
seconds that each exporter took in a process that had loaded everything. Random weights, except efficientnet_lite0's.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
TORCHLESS = Path(sys.executable).with_name("torchless")
LITE0 = "efficientnet_lite0"
# A stage begins with the line that starts so; what comes before the first is the start of the program.
STAGES = {
    "starting PyTorch": "import",
    "loading": "load",
    "converting": "convert",
    "proving": "prove",
    "carries": "end",
}

EXPORTERS = """
import json, sys, time
from torchless_export.convert.to_onnx import to_onnx
from torchless_export.sources.load import load
from torchless_export.sources.request import ModelRequest
loaded = load(ModelRequest(**json.loads(sys.argv[1])))
for exporter in ("torchscript", "dynamo"):
    start = time.perf_counter()
    to_onnx(loaded.module, loaded.shape, exporter=exporter)
    print(exporter, time.perf_counter() - start)
"""


def source(model: str) -> dict[str, str]:
    return {"builder": "examples.efficientnet_lite:lite0"} if model == LITE0 else {"weights": "none"}


def export(model: str, output: Path) -> dict[str, float]:
    """Seconds of one export by stage, of the whole process, and of the processors."""
    options = [part for name, value in source(model).items() for part in (f"--{name}", value)]
    command = [TORCHLESS, "export", model, *options, "--output", output]
    before, start = os.times(), time.perf_counter()
    stage, since, found = "start", start, {}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        for line in process.stderr or ():
            said = line.partition("s] ")[2]
            if next_stage := next((name for words, name in STAGES.items() if said.startswith(words)), None):
                now = time.perf_counter()
                found[stage] = now - since
                stage, since = next_stage, now
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed")
    end, after = time.perf_counter(), os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return found | {stage: end - since, "total": end - start, "processors": cpu}


def alone(model: str) -> dict[str, float]:
    """Seconds of torch's exporters."""
    request = json.dumps({"model": model} | source(model))
    command = [sys.executable, "-c", EXPORTERS, request]
    lines = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return {name: float(seconds) for name, seconds in map(str.split, lines)}


def main(rounds: str, *models: str) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as box:
        for model in models:
            found = [export(model, Path(box, f"{model}.onnx")) for _ in range(int(rounds))]
            seconds = {name: round(median(one[name] for one in found), 2) for name in found[0]}
            rows.append(
                {
                    "model": model,
                    "rounds": [round(one["total"], 2) for one in found],
                    "seconds": seconds,
                    "alone": {name: round(each, 2) for name, each in alone(model).items()},
                }
            )
    print(json.dumps(rows))


if __name__ == "__main__":
    main(*sys.argv[1:])
