"""Exports that go elsewhere than into one file."""

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from torchless.triton.config import MODEL_FILE
from torchless.triton.repository import write_repository
from torchless_export.export import Exported


def export_to_repository(export: Callable[[Path], Exported], name: str, repository: Path) -> Exported:
    """Has `export` write a model, and puts it into a model repository of Triton under `name` once it has passed the gate.

    The result's path is that in the repository. Raises what `export` and write_repository raise.
    """
    with tempfile.TemporaryDirectory(prefix="torchless-") as folder:
        exported = export(Path(folder) / f"{name}.onnx")
        [placed] = write_repository([exported.path], repository)
        return replace(exported, path=repository / placed.name / str(placed.version) / MODEL_FILE)
