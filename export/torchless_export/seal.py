"""What torchless says of a model, into the ONNX file."""

from pathlib import Path

import onnx

from torchless.errors import UsageError
from torchless.inspection import LAYERS_KEY, Layer, layers_to_json
from torchless.manifest import Manifest


def write_sealed(model: onnx.ModelProto, manifest: Manifest, layers: tuple[Layer, ...], path: Path) -> None:
    """Writes `model` with `manifest` and `layers` in its metadata, in one file. Raises UsageError when it cannot be written."""
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {Manifest.KEY: manifest.to_json(), LAYERS_KEY: layers_to_json(layers)})
    try:
        path.write_bytes(model.SerializeToString())
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}") from error
