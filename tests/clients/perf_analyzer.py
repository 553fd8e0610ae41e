"""Triton's perf_analyzer. On PyPI it is in tritonclient's wheels up to 2.60; the package of its own name is empty. It
needs CUDA's runtime library, without a GPU, and Debian's libb64-0d.
"""

import base64
import json
import os
import re
import struct
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.clients import Given

WHEEL, CUDA = "tritonclient==2.50.0", "nvidia-cuda-runtime-cu12"
QUICK = (
    "--concurrency-range", "2", "--measurement-interval", "500", "--stability-percentage", "999", "--max-trials", "3",
)  # fmt: skip


def run_perf_analyzer(about: Given, folder: Path) -> dict[str, Any]:
    """Its row: it measures tensors and images over HTTP and gRPC, and reads the server's statistics."""
    program, libraries = _installed(folder)
    images = folder / "images.json"
    images.write_text(json.dumps({"data": [{"image": {"b64": _counted(Path(about.images[0]))}}]}))
    clients = {}
    for protocol, address in (("http", about.http), ("grpc", about.grpc)):
        to = [program, "-i", protocol, "-u", address, *QUICK]
        clients[f"perf_analyzer -i {protocol}"] = {
            "tensors": _failure([*to, "-m", "tiny", "-z", "-b", "4"], libraries),
            "images": _failure([*to, "-m", "tiny_image", "--shape", "image:1", "--input-data", images], libraries),
        }
    return {"versions": {"perf_analyzer of tritonclient": WHEEL.partition("==")[2]}, "clients": clients}


def _counted(image: Path) -> str:
    """An element of BYTES, with its length before it, in base64: what perf_analyzer passes on as it is."""
    content = image.read_bytes()
    return base64.b64encode(struct.pack("<I", len(content)) + content).decode()


def _failure(command: Sequence[object], libraries: str) -> str:
    """Empty if requests were answered, none failed, and the server's own statistics were read."""
    environment = os.environ | {"LD_LIBRARY_PATH": libraries}
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, check=False)
    answered = re.search(r"Inference count: [1-9]", done.stdout)  # from the statistics, under "Server:"
    said = f"{done.stdout[-300:]}{done.stderr[-300:]}"
    return "" if done.returncode == 0 and answered else f"exit code {done.returncode}: {said}"


def _installed(folder: Path) -> tuple[Path, str]:
    """The program, and the folders of the libraries that it needs."""
    program = folder / "data" / "bin" / "perf_analyzer"
    if not program.exists():
        folder.mkdir(parents=True, exist_ok=True)
        for name in (WHEEL, CUDA):
            pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, name]
            subprocess.run(list(map(str, pip)), check=True)
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)
        next(folder.glob("tritonclient-*.data")).joinpath("data").rename(folder / "data")
        program.chmod(0o755)
    (cuda,) = folder.glob("nvidia/cuda_runtime/lib")
    return program, os.pathsep.join([str(cuda), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])])
