"""Weights that an ONNX file keeps in other files: only files beside it are read, whatever the model says and whichever ONNX Runtime loads it.

A model may name any path. Newer releases of ONNX Runtime refuse those outside of the model's folder; 1.20, which torchless still runs with,
reads them.
"""

import os
from collections.abc import Iterator
from pathlib import Path

from torchless.errors import ArtifactDamagedError, ExternalDataError
from torchless.model.onnxfile import HeldFiles, fields_of, read_fields

_MOST_NESTED = 100  # as protobuf's own limit

# onnx.proto's messages that tensors can be in, each with the fields that lead on to them: its number → the message in it.
_FIELDS = {
    "model": {7: "graph", 25: "function"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
}
_EXTERNAL_DATA = 13  # of TensorProto: pairs of a key and a value


def check_external_data(path: Path) -> None:
    """Raises ExternalDataError where weights of the model at `path` are outside of its folder or missing; ArtifactError if it is damaged."""
    missing = [name[:200] for name in dict.fromkeys(external_locations(path)) if not os.path.isfile(path.parent / name)]
    if missing:
        raise ExternalDataError.missing(path, *missing)


def external_locations(path: Path, *, held: HeldFiles | None = None) -> list[str]:
    """For each tensor of the model at `path`, or of what is `held` of it, that is kept in another file: that file's name, sorted.

    Raises ExternalDataError for one outside of the model's folder, ArtifactError for a damaged model.
    """
    locations = sorted(read_fields(path, _locations, held=held))
    for location in locations:
        if not _is_beside(path, location):
            raise ExternalDataError(
                f"{path} wants its weights from {location[:200]!r}, which is not a file in its folder; such a model is refused: "
                "it could read any file of this machine"
            )
    return locations


def _is_beside(path: Path, location: str) -> bool:
    """Links are followed: the file itself must be in the folder, or in that of the model itself where the model is a link (as in caches)."""
    if not location or "\0" in location or Path(location).is_absolute() or ".." in Path(location).parts:
        return False
    target = os.path.realpath(path.parent / location)
    homes = {os.path.realpath(path.parent), os.path.dirname(os.path.realpath(path))}
    return any(os.path.commonpath([home, target]) == home and target != home for home in homes)


def _locations(view: memoryview) -> Iterator[str]:
    return _walk(view, "model", 0)


def _walk(view: memoryview, kind: str, depth: int) -> Iterator[str]:
    if depth > _MOST_NESTED:
        raise ArtifactDamagedError(f"its graphs are nested more than {_MOST_NESTED} deep")
    if kind == "tensor":
        yield from _location_of(view)
        return
    inner = _FIELDS[kind]
    for number, value in fields_of(view):
        if number in inner and isinstance(value, memoryview):
            yield from _walk(value, inner[number], depth + 1)


def _location_of(tensor: memoryview) -> Iterator[str]:
    for number, value in fields_of(tensor):
        if number == _EXTERNAL_DATA and isinstance(value, memoryview):
            pair = dict(fields_of(value))
            if bytes(_view(pair.get(1))) == b"location":
                yield os.fsdecode(bytes(_view(pair.get(2))))


def _view(value: int | memoryview | None) -> memoryview:
    return value if isinstance(value, memoryview) else memoryview(b"")
