"""See the package's docstring."""

import argparse
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gpu_proof
from gpu_proof.record import Record
from gpu_proof.settings import ROOT, Settings, settings_for
from gpu_proof.steps import everything
from rendering import gpu
from rendering.markdown import fill


def main(arguments: list[str] | None = None) -> int:
    """0 where every step was done and every proof passed, else 1."""
    parser = argparse.ArgumentParser(
        description=gpu_proof.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--output", type=Path)
    parser.add_argument("--models", nargs="+", metavar="MODEL", help="only these")
    parser.add_argument("--peers", nargs="+", metavar="PEER", help="only these of bench/peers/on_device.py")
    parser.add_argument("--batches", nargs="+", type=int, metavar="N")
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--minutes", type=float, help="begin no step after so many")
    given = parser.parse_args(arguments)
    settings = settings_for(given.device, full=given.full, output=given.output)
    if given.models:
        settings = replace(settings, models=tuple(given.models), measured=tuple(given.models[:3]))
    settings = replace(
        settings,
        peers=tuple(given.peers or settings.peers),
        batches=tuple(given.batches or settings.batches),
        seconds=given.seconds or settings.seconds,
        minutes=given.minutes if given.minutes is not None else settings.minutes,
    )
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT / "tools"), *filter(None, [os.environ.get("PYTHONPATH")])])
    record = Record(settings)
    everything(settings, record)
    record.write()
    show(settings, record)
    return int(bool(record.document["failures"]) or not gpu.all_proved(record.document))


def show(settings: Settings, record: Record) -> None:
    """Writes the charts and the page, and says what failed."""
    if settings.on_card and settings.output == ROOT / "figures" / "gpu":
        subprocess.run([sys.executable, str(ROOT / "tools" / "pages.py"), "docs/gpu.md"], check=True)
        page = ROOT / "docs" / "gpu.md"
    else:
        page = settings.output / "gpu.md"
        text = (ROOT / "docs" / "gpu.md").read_text(encoding="utf-8")
        page.write_text(fill(text, {name: part(record.document) for name, part in gpu.PARTS.items()}), encoding="utf-8")
        for name, draw in gpu.PICTURES.items():
            (settings.output / name).write_bytes(draw(record.document))
    for step, why in record.document["failures"].items():
        record.say(f"NOT DONE  {step}: {why}")
    record.say(f"written: {record.path}, {page}")


if __name__ == "__main__":
    raise SystemExit(main())
