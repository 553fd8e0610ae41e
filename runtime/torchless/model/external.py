"""Weights that an ONNX file keeps in other files: only files beside it are read.

A model may name any path. Newer releases of ONNX Runtime refuse paths outside the model's folder; 1.20, which torchless
still supports, reads them.
"""

import os
from pathlib import Path

from torchless.errors import ExternalDataError
from torchless.model.onnxfile import OnnxFile


def check_external_data(file: OnnxFile) -> None:
    """Raises ExternalDataError if weights of the model are outside its folder, or missing."""
    check_locations(file)
    missing = [name[:200] for name in file.data_files if not os.path.isfile(file.path.parent / name)]
    if missing:
        raise ExternalDataError.missing(file.path, *missing)


def check_locations(file: OnnxFile) -> None:
    """Raises ExternalDataError if weights of the model are outside its folder, whether or not they exist."""
    for location in file.locations:
        if not _is_beside(file.path, location):
            raise ExternalDataError(
                f"{file.path} wants its weights from {location[:200]!r}, which is not a file in its folder; such a "
                "model is refused: it could read any file of this machine"
            )


def _is_beside(path: Path, location: str) -> bool:
    """Follows links: the file itself must be in the folder, or in that of the model's target if it is a link (in
    caches).
    """
    if not location or "\0" in location or Path(location).is_absolute() or ".." in Path(location).parts:
        return False
    target = os.path.realpath(path.parent / location)
    homes = {os.path.realpath(path.parent), os.path.dirname(os.path.realpath(path))}
    return any(os.path.commonpath([home, target]) == home and target != home for home in homes)
