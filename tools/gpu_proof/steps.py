"""The steps, in order: what is missing is found out first, and what others need comes before what they don't."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from gpu_proof.record import Record, StepError, python
from gpu_proof.settings import ROOT, Settings
from torchless.bench import made_up_jpeg
from torchless.cpus import available_cpus

PARITY_FAILED = 5  # the exit code
PRECISIONS = ("float32", "tf32", "fp16")
_NEEDED = {"GPU", "GPU driver", "CUDA libraries"}  # of doctor's checks
_PHOTOS, _LARGEST_DIFFERENCE = 100, 1e-3
_AT_ONCE = max(1, available_cpus() // 4)  # exports and proofs; what is timed runs alone


def everything(settings: Settings, record: Record) -> None:
    """All steps; one that fails leaves out those that need it, and no other."""
    record.step("set-up", partial(set_up, settings, record))
    _at_once(record, {f"export {name}": partial(export, settings, record, name) for name in settings.models})
    exported = [name for name in settings.models if f"export {name}" in record.found]
    _at_once(record, {f"fp16 {name}": partial(halve, settings, record, name) for name in exported})
    _at_once(
        record,
        {
            f"proof {name} {precision}": partial(proof, settings, record, name, precision)
            for name in exported
            for precision in PRECISIONS
            if precision != "fp16" or f"fp16 {name}" in record.found
        },
    )
    measured = [name for name in settings.measured if name in exported]
    for name in measured:
        for peer in settings.peers:
            if peer != "torchless_fp16" or f"fp16 {name}" in record.found:
                record.step(f"times {name} {peer}", partial(times, settings, record, name, peer))
        record.step(f"agreement {name}", partial(agreement, settings, record, name))
    for name in measured[:1]:
        record.step(f"folder {name}", partial(folder, settings, record, name))
        record.step(f"server {name}", partial(served, settings, record, name))
    if exported:
        record.step("compare", partial(compared, settings, record, exported))


def set_up(settings: Settings, record: Record) -> Any:
    """What `doctor` says of this installation; without a usable GPU nothing else is tried."""
    found = record.json(python("torchless", "doctor", "--json"), codes=range(256))
    wrong = [one for one in found["findings"] if not one["well"]]
    record.say("\n".join([f"{one['check']}: {one['message']}" for one in wrong] or ["doctor: all is well"]))
    missing = [one for one in wrong if one["check"] in _NEEDED]
    if settings.on_card and missing:
        raise SystemExit("\n".join(f"{one['message']}; mend it with: {one['fix']}" for one in missing))
    return {"well": not wrong, "wrong": [one["message"] for one in wrong]}


def export(settings: Settings, record: Record, name: str) -> Any:
    """Through the gate, with random weights."""
    path = settings.artifacts / f"{name}.onnx"
    if not path.exists():
        settings.artifacts.mkdir(parents=True, exist_ok=True)
        record.run(python("torchless", "export", name, "--weights", "none", "--output", path), minutes=15)
    return {"bytes": path.stat().st_size}


def halve(settings: Settings, record: Record, name: str) -> Any:
    """The float16 file; whether it decides as the float32 one does is for its proof to say."""
    source = settings.artifacts / f"{name}.onnx"
    target = source.with_suffix(".fp16.onnx")
    if not target.exists():
        ungated = ("--min-agreement", 0, "--force")  # random weights have no decisions to keep
        images = ("--calibration", photos(settings))
        record.run(
            python("torchless", "quantize", source, "--precision", "fp16", *images, *ungated, "--output", target)
        )
    return {"bytes": target.stat().st_size}


def photos(settings: Settings) -> Path:
    """A folder of generated JPEGs."""
    folder = settings.artifacts / "photos"
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(_PHOTOS):
        path = folder / f"{seed:03}.jpg"
        if not path.exists():
            path.write_bytes(made_up_jpeg(seed))
    return folder


def proof(settings: Settings, record: Record, name: str, precision: str) -> Any:
    """The verdict on the answers that the file carries."""
    path = settings.artifacts / f"{name}{'.fp16' * (precision == 'fp16')}.onnx"
    device = f"{settings.device},tf32" if settings.on_card and precision == "tf32" else settings.device
    found = record.json(python("torchless", "verify", path, "--device", device, "--json"), codes=(0, PARITY_FAILED))
    figures = {check["name"]: check["figure"] for check in found["checks"]}
    failed = [check["name"] for check in found["checks"] if not check["passed"]]
    return {"passed": found["passed"], "device": found["device"], "failed": failed, "figures": figures}


def times(settings: Settings, record: Record, name: str, peer: str) -> Any:
    """Milliseconds by size of batch, and memory."""
    artifact = settings.artifacts / f"{name}.onnx"
    if peer.startswith("pytorch"):
        save_weights(name, artifact.with_suffix(".pth"))
    script = ROOT / "bench" / "peers" / "on_device.py"
    found = record.json(
        python(script, peer, artifact, settings.device, settings.seconds, *settings.batches), minutes=15
    )
    if not found["times"]:
        raise StepError(found["failed"])
    return found


def agreement(settings: Settings, record: Record, name: str) -> Any:
    """How far each peer's logits are from PyTorch's, as a share of their range: those that differ computed something
    else, and how long that took says nothing.
    """
    logits = {peer: record.found.get(f"times {name} {peer}", {}).get("logits") for peer in settings.peers}
    if logits.get("pytorch") is None:
        raise StepError("PyTorch's logits are missing")
    reference = np.array(logits["pytorch"])
    apart = {
        peer: float(np.abs(np.array(found) - reference).max() / np.ptp(reference))
        for peer, found in logits.items()
        if found is not None
    }
    if not apart.get("torchless", 0) <= _LARGEST_DIFFERENCE:
        raise StepError(f"torchless does not compute what PyTorch does: {apart}")
    return apart


def save_weights(name: str, path: Path) -> None:
    """Those that the artifact was exported with: they are made the same way each time."""
    if path.exists():
        return
    import torch

    from torchless_export.sources.load import load
    from torchless_export.sources.request import ModelRequest

    torch.save(load(ModelRequest(model=name, weights="none")).module.state_dict(), path)


def folder(settings: Settings, record: Record, name: str) -> Any:
    """`bench`: from JPEGs to predictions, and each stage alone."""
    flags: list[object] = [flag for size in settings.batches[:3] for flag in ("-b", size)]
    flags += ["--device", settings.device, "--threads", 1, "--seconds", settings.seconds]
    path = settings.artifacts / f"{name}.onnx"
    found: dict[str, Any] = record.json(python("torchless", "bench", path, *flags, "--json"))
    return found | {"model": path.name}


def served(settings: Settings, record: Record, name: str) -> Any:
    """Requests with a JPEG each, by number of clients."""
    model = settings.artifacts / f"{name}.onnx"
    return record.json(python("gpu_proof.served", model, settings.device, 4 * settings.seconds, *settings.clients))


def compared(settings: Settings, record: Record, names: Iterable[str]) -> Any:
    """A comparison of all models here, whose measurements another machine's `compare --measurements` takes."""
    files = [settings.artifacts / f"{name}.onnx" for name in names]
    options = ("--device", settings.device, "--rounds", 1, "--seconds", settings.seconds)
    record.run(python("torchless", "compare", *files, *options, "--output", settings.output / "compare"), minutes=30)
    return {"models": len(files)}


def _at_once(record: Record, steps: dict[str, Callable[[], Any]]) -> None:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for done in [pool.submit(record.step, name, work) for name, work in steps.items()]:
            done.result()
