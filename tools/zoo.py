"""Exports every torchvision classifier with random weights through the real gate, each in a process of its own.

    make zoo                  all that artifacts/zoo.json does not hold yet
    make zoo ARGS='resnet18 vit_b_16'
    python tools/zoo.py --seeds mobilenet_v3_small figures/seeds.json      20 times the same network, with other weights

If it is interrupted, it continues where it stopped. Every model has a row: the figures, or why it failed.
"""

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torchless.doctor.machine import here, versions
from torchless.model.artifact import read_artifact
from torchless.model.manifest import Parity
from torchless_export.sources.catalog import find_weights, model_names, published

ROOT = Path(__file__).parents[1]
RESULTS, FOLDER = ROOT / "artifacts" / "zoo.json", ROOT / "artifacts" / "zoo"

# The two whose files pass protobuf's 2 GB take minutes per image at their default weights' size (518 and 384 pixels).
IMAGE_SIZES = {"vit_h_14": 224, "regnet_y_128gf": 224}
VERSIONS = ("torch", "torchvision", "onnx", "onnxruntime")

Row = dict[str, Any]


def export(name: str, seed: int = 0, *, python: str | Path = sys.executable, image_size: int | None = None) -> Row:
    """Runs `torchless export NAME --weights none` in a process of its own, with this interpreter; its row, with time
    and memory.
    """
    path, log = FOLDER / f"{name}.onnx", FOLDER / f"{name}.log"
    pixels = image_size or IMAGE_SIZES.get(name)
    size = ["--crop", str(pixels)] if pixels is not None else []
    command = [
        str(python),
        "-m",
        "torchless",
        "export",
        name,
        "--weights",
        "none",
        "--seed",
        str(seed),
        "--output",
        str(path),
        *size,
    ]
    start = time.monotonic()
    with log.open("wb") as stream:
        actions = [(os.POSIX_SPAWN_DUP2, stream.fileno(), 1), (os.POSIX_SPAWN_DUP2, stream.fileno(), 2)]
        process = os.posix_spawn(python, command, os.environ, file_actions=actions)
        _, status, usage = os.wait4(process, 0)
    cost = {"seconds": round(time.monotonic() - start, 1), "peak_memory_mb": round(usage.ru_maxrss * 1024 / 1e6)}
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        return {
            "model": name,
            "passed": False,
            "exit_code": code,
            **cost,
            "error": log.read_text(errors="replace")[-2000:],
        }
    row = {"model": name, "passed": True, **cost, **figures(path)}
    for file in FOLDER.glob(f"{name}.onnx*"):
        file.unlink()
    return row


def figures(path: Path) -> Row:
    """What the artifact's own manifest says of it."""
    artifact = read_artifact(path)
    manifest = artifact.manifest
    parity, made = manifest.parity, manifest.produced_by
    if parity is None or made is None:
        raise SystemExit(f"{path} has no verdict")
    checks = {check.name: check for check in parity.checks}
    return {
        "parameters": manifest.model.num_params,
        "image_size": max(manifest.image_size),
        "file_mb": round(artifact.size / 1e6, 1),
        "data_file": manifest.files is not None,
        "nodes": len(artifact.file.graph.operators),
        "exporter": made.exporter,
        "opset": made.opset,
        "rule": parity.rule,
        "spread": parity.spread,
        "max_abs_error": parity.max_abs_error,
        "sets": {name: _worst(parity, name) for name in ("random", "photos")},
        "batching": checks["batching"].figure,
        "variation": checks["not_vacuous"].figure,
    }


def _worst(parity: Parity, name: str) -> Row:
    """The batch size at which the set's error is largest."""
    return asdict(max((row for row in parity.metrics if row.images == name), key=lambda row: row.max_abs_error))


def run(names: list[str]) -> int:
    """Exports what is not done yet; the number of failures among `names`."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    origin = {**here(), "versions": versions(*VERSIONS)}
    done = _earlier(origin)
    for number, name in enumerate(names, start=1):
        if name not in done:
            print(f"[{number}/{len(names)}] {name} …", end=" ", flush=True)
            done[name] = export(name)
            row = done[name]
            print(
                f"{'ok' if row['passed'] else 'FAILED'}  {row['seconds']:.0f} s  {row['peak_memory_mb']:,} MB",
                flush=True,
            )
            results = {
                **origin,
                "models": [done[model] for model in model_names() if model in done],
            }
            RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    passed = [name for name in names if done[name]["passed"]]
    print(f"{len(passed)} of {len(names)} pass the gate; figures in {RESULTS.relative_to(ROOT)}")
    return len(names) - len(passed)


def seeds(name: str, target: Path) -> int:
    """Whether the gate raises a false alarm: 20 exports of one network with other weights; the number that failed."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    rows = [{"seed": seed, **export(name, seed)} for seed in range(20)]
    target.write_text(json.dumps({**here(), "versions": versions(*VERSIONS), "runs": rows}, indent=1) + "\n")
    failed = sum(not row["passed"] for row in rows)
    print(f"{len(rows) - failed} of {len(rows)} seeds of {name} pass the gate; figures in {target}")
    return failed


def _earlier(origin: Row) -> dict[str, Row]:
    """The rows of an interrupted run on the same machine, with the same versions; failures are tried again."""
    if not RESULTS.exists():
        return {}
    earlier = json.loads(RESULTS.read_text())
    same = all(earlier.get(key) == origin[key] for key in ("machine", "versions"))
    return {row["model"]: row for row in earlier["models"] if row["passed"]} if same else {}


def _cost(name: str) -> float:
    """GFLOPs for one image: the slow ones come last, so that an interruption costs little."""
    return published(find_weights(name, "DEFAULT")).gflops or 0.0


def main() -> None:
    """See the module's docstring."""
    arguments = sys.argv[1:]
    if arguments[:1] == ["--seeds"]:
        raise SystemExit(1 if seeds(arguments[1], Path(arguments[2])) else 0)
    raise SystemExit(1 if run(arguments or sorted(model_names(), key=_cost)) else 0)


if __name__ == "__main__":
    main()
