"""The manifest into the ONNX file."""

from pathlib import Path

import onnx

from torchless.errors import UsageError
from torchless.manifest import Manifest


def write_sealed(model: onnx.ModelProto, manifest: Manifest, path: Path) -> None:
    """Writes `model` with `manifest` in its metadata, in one file. Raises UsageError when the folder cannot be written."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {Manifest.KEY: manifest.to_json()})
    try:
        path.write_bytes(model.SerializeToString())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
