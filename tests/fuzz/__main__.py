"""make fuzz: the long run.

    python -m tests.fuzz figures/reliability.json [--model FILE.onnx] [TARGET[=COUNT] …]

Each target's figures are in the JSON as soon as it is done, so that a long run can be made in pieces. Inputs that found
something are written to artifacts/fuzz/; once the product is mended, the smallest of them belongs into
tests/fuzz/regressions/TARGET/. The exit code is 1 then.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz import campaign, worker

from torchless.doctor.machine import here, versions

COUNTS = {
    "classifier": 20_000, "infer": 2_000, "http": 3_000, "server": 3_000,
    "manifests": 2_500, "models": 2_500, "checkpoints": 2_000, "labels": 1_000,
}  # fmt: skip
_FOUND = campaign.REPO / "artifacts" / "fuzz"
_PACKAGES = ("pillow", "onnxruntime", "numpy", "torch", "safetensors", "starlette", "uvicorn")


def figures(tally: campaign.Tally, *, seed: int, seconds: float) -> dict[str, Any]:
    """What is committed of a target's run."""
    return here() | {
        "inputs": tally.inputs,
        "outcomes": dict(tally.outcomes.most_common()),
        "findings": len(tally.findings),
        "slowest_s": round(tally.slowest_s, 2),
        "most_memory_mb": round(tally.most_memory / 1e6),
        "seed": seed,
        "seconds": round(seconds),
        "versions": versions(*_PACKAGES),
    }


def keep(path: Path, section: str, name: str, row: dict[str, Any]) -> None:
    """Puts one row into the JSON file."""
    document = json.loads(path.read_text()) if path.exists() else {}
    document.setdefault(section, {})[name] = row
    path.with_suffix(".part").write_text(json.dumps(document, indent=1) + "\n")
    path.with_suffix(".part").replace(path)


def small_model() -> Path:
    """The tests' tiny network, exported through the gate."""
    from torchless_export.export import export_model
    from torchless_export.sources.request import ModelRequest

    os.chdir(campaign.REPO)
    path = _FOUND / "tiny.onnx"
    return (
        path
        if path.exists()
        else export_model(ModelRequest(model="tiny", builder="tests.models:tiny"), output=path).path
    )


def save_inputs(name: str, model: Path, seed: int, tally: campaign.Tally) -> None:
    """The inputs that found something, and what they found."""
    from tests.fuzz.targets import TARGETS

    for number, story in tally.findings:
        stem = _FOUND / f"{name}-{seed}-{number}"
        data = TARGETS[name].make(_Maker(model), worker.case(name, seed, number))
        stem.with_suffix(".input").write_bytes(data)
        stem.with_suffix(".txt").write_text(story)


class _Maker:
    """All that Target.make needs of a target."""

    def __init__(self, model: Path) -> None:
        self.model = model


def main() -> int:
    """The exit code: 1 where anything was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("json", type=Path)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--model", type=Path)
    given = parser.parse_args()
    _FOUND.mkdir(parents=True, exist_ok=True)
    path, model = given.json.resolve(), (given.model or small_model()).resolve()
    found = 0
    for wanted in given.targets or COUNTS:
        name, _, count = wanted.partition("=")
        start = time.monotonic()
        tally = campaign.run(name, model, seed=given.seed, first=0, count=int(count or COUNTS[name]))
        keep(path, "fuzz", name, figures(tally, seed=given.seed, seconds=time.monotonic() - start))
        save_inputs(name, model, given.seed, tally)
        found += len(tally.findings)
        sys.stdout.write(f"{name}: {tally.inputs} inputs, {dict(tally.outcomes)}, {len(tally.findings)} findings\n")
        for number, story in tally.findings[:20]:
            sys.stdout.write(f"  input {number}: {story[-1500:]}\n")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
