"""Makes the files in this folder; tests/export/test_data.py makes them elsewhere, and compares."""

from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import onnx

from tests.data import DATA
from torchless.model.artifact import read_artifact
from torchless_export.convert import write
from torchless_export.export import export_model
from torchless_export.in_graph.build import InGraph, put_in_graph
from torchless_export.sources.request import ModelRequest


def derive(tiny: Path, folder: Path) -> None:
    """Writes all but tiny.onnx, which is given."""
    (folder / "onnx.descriptor").write_bytes(onnx.ModelProto.DESCRIPTOR.file.serialized_pb)
    manifest = read_artifact(tiny).manifest
    (folder / "pair").mkdir(exist_ok=True)
    model, pair = onnx.load(tiny), folder / "pair" / "tiny.onnx"
    with patch.object(write, "MAX_INLINE_BYTES", 1000):
        write.write_sealed(model, replace(manifest, files=write.write_model(model, pair)), (), pair)
    model = onnx.load(tiny)
    write.write_sealed(model, put_in_graph(model, manifest, InGraph()), (), folder / "pixels.onnx")


if __name__ == "__main__":
    derive(export_model(ModelRequest(model="tiny", builder="tests.models:tiny"), output=DATA / "tiny.onnx").path, DATA)
