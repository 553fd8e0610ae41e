"""What several verbs of the export side share. Nothing of torch is imported before a verb runs."""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.program import as_flags
from torchless.errors import extra
from torchless.heaps import keep_what_is_freed
from torchless.process import tell
from torchless.text import printable

Recursive = Annotated[bool, typer.Option("--recursive", "-r", help="Include subfolders.")]

NoEvidence = Annotated[
    bool,
    typer.Option(
        "--no-evidence", help="Leave out the test images with PyTorch's answers, by which torchless verify proves it."
    ),
]


def require_torch() -> None:
    """Raises MissingDependencyError without what exporting needs. Has torch's threads spin less while they wait, if
    called before torch is imported, and keeps its memory for it.
    """
    _require("export", "torch", "torchvision", "onnx", "onnxscript")
    keep_what_is_freed()
    # GNU's OpenMP has threads wait by spinning for milliseconds: where anything else runs, they take the processors
    # from each other. Not spinning at all would make depthwise convolutions several times as slow on an idle machine.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def require_onnx() -> None:
    """Raises MissingDependencyError without what changing an ONNX file needs, which is not torch."""
    _require("quantize", "onnx")


def _require(name: str, *packages: str) -> None:
    with extra(name, "this command"):
        if missing := [package for package in packages if find_spec(package) is None]:
            raise ImportError(f"not installed: {', '.join(missing)}")


def progress() -> Callable[[str], None]:
    """Prints on stderr what is being done, after how many seconds."""
    start = time.monotonic()

    return lambda line: tell(f"[{time.monotonic() - start:5.1f} s] {as_flags(printable(line))}")


def beside(model: Path, form: str) -> Path:
    """resnet50.onnx → resnet50.int8.onnx."""
    return model.with_name(f"{model.stem}.{form}.onnx")
