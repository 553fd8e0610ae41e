"""Makes the files in this folder; tests/export/test_data.py makes them elsewhere, and compares."""

import hashlib
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx

from tests.data import DATA
from torchless.image.decode import load_rgb
from torchless.model.artifact import read_artifact
from torchless.model.evidence import Evidence, evidence_of
from torchless_export.convert import write
from torchless_export.export import export_model
from torchless_export.in_graph.build import InGraph, put_in_graph
from torchless_export.sources.request import ModelRequest


def derive(tiny: Path, folder: Path) -> None:
    """Writes all but tiny.onnx, which is given."""
    (folder / "onnx.descriptor").write_bytes(onnx.ModelProto.DESCRIPTOR.file.serialized_pb)
    artifact = read_artifact(tiny)
    manifest, evidence = artifact.manifest, evidence_of(artifact)
    (folder / "pair").mkdir(exist_ok=True)
    model, pair = onnx.load(tiny), folder / "pair" / "tiny.onnx"
    write.data_path(pair).unlink(missing_ok=True)  # onnx would append to it
    with patch.object(write, "MAX_INLINE_BYTES", 1000):
        described = replace(manifest, files=write.write_model(model, pair))
        write.write_sealed(model, described, (), pair, evidence.to_text())
    model = onnx.load(tiny)
    in_graph = put_in_graph(model, manifest, InGraph())
    write.write_sealed(model, in_graph, (), folder / "pixels.onnx", of_pixels(evidence).to_text())


def of_pixels(evidence: Evidence) -> Evidence:
    """The same for a graph that is given the pixels themselves."""
    images = tuple(replace(image, input_sha256=_pixels_sha256(image.content)) for image in evidence.images)
    return replace(evidence, images=images)


def _pixels_sha256(file: bytes) -> str:
    return hashlib.sha256(np.asarray(load_rgb(file)).tobytes()).hexdigest()


if __name__ == "__main__":
    derive(export_model(ModelRequest(model="tiny", builder="tests.models:tiny"), output=DATA / "tiny.onnx").path, DATA)
