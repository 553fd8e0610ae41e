"""An ONNX model and what torchless says of it, into one file, or into a pair where protobuf's 2 GB are not enough."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import onnx
from onnx.external_data_helper import convert_model_to_external_data

from torchless.errors import UsageError
from torchless.files import writing
from torchless.locks import close, open_folder, take
from torchless.model.artifact import sha256_of
from torchless.model.evidence import Evidence, room_in
from torchless.model.inspection import LAYERS_KEY, Layer, layers_to_json
from torchless.model.manifest import DataFile, Manifest
from torchless.model.seal import seal_entry

DATA_SUFFIX = ".data"
_PART = ".part."

# A protobuf message ends at 2³¹ - 1 bytes; what is left over is for the graph and the metadata.
MAX_INLINE_BYTES = 2_000_000_000
_SMALL_BYTES = 1024  # constants below this stay in the model file: shape inference needs to read them


@contextmanager
def staged(output: Path) -> Iterator[Path]:
    """A path of the same name in a folder of its own beside `output`, to write and prove a model at.

    When the block ends, the file written there takes the place of `output`, and its data file that of the old data
    file; when the block fails, everything in the folder is removed and the old ones stay. What a killed export of the
    same name left is removed too. Of two at once the last to end wins, whole. A link is followed: what it leads to is
    replaced. Raises UsageError when the folder cannot be written.
    """
    output = Path(os.path.realpath(output))
    if os.path.isdir(output):
        raise UsageError(f"cannot write {output}: it is a folder")
    is_new = not os.path.lexists(output.parent)
    with writing(output.parent):
        output.parent.mkdir(parents=True, exist_ok=True)
        with _alone_in(output.parent):
            _remove_abandoned(output)
            folder = Path(tempfile.mkdtemp(dir=output.parent, prefix=".", suffix=f"{_PART}{output.name}"))
            alive = open_folder(folder)
            if alive is not None:  # without locks nothing is ever taken for abandoned
                take(alive, shared=True)
    try:
        yield folder / output.name
        _publish(folder / output.name, output)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        close(alive)
        if is_new:
            with suppress(OSError):  # not empty: the export went well
                output.parent.rmdir()


def write_model(model: onnx.ModelProto, path: Path) -> DataFile | None:
    """Writes the weights of a model that is too large for one file beside `path`, and leaves references to them in
    `model`.

    Returns None, and does nothing, for a model that fits into one file.
    """
    if sum(len(weight.raw_data) for weight in model.graph.initializer) <= MAX_INLINE_BYTES:
        return None
    data = data_path(path)
    convert_model_to_external_data(model, location=data.name, size_threshold=_SMALL_BYTES)
    with writing(data):
        onnx.external_data_helper.write_external_data_tensors(model, str(path.parent))
    return DataFile(data=data.name, sha256=sha256_of(data))


def write_sealed(
    model: onnx.ModelProto, manifest: Manifest, layers: tuple[Layer, ...], path: Path, evidence: str | None = None
) -> "SealedFile":
    """Writes `model` with `manifest`, `layers` and `evidence` (Evidence.to_text) in its metadata, and the seal over all
    of it. Raises UsageError when it cannot be written.
    """
    del model.metadata_props[:]
    file = SealedFile(path, model.SerializeToString(), layers)
    file.write(manifest, evidence)
    return file


class SealedFile:
    """An artifact that is written before the gate and again after it, with the verdict; its model is serialised, hashed
    and written once for both.
    """

    manifest: Manifest

    def __init__(self, path: Path, model: bytes, layers: tuple[Layer, ...]) -> None:
        """`model` is a serialised ModelProto without metadata."""
        self.path, self._model, self._layers = path, model, layers_to_json(layers)
        self._digest = hashlib.sha256(model)
        self._has_model = False  # whether the file begins with it

    def room(self, manifest: Manifest) -> int:
        """How many bytes of evidence go into it beside this manifest."""
        data = data_path(self.path).stat().st_size if manifest.files is not None else 0
        return room_in(len(self._model) + len(self._entries(manifest, None)) + data)

    def write(self, manifest: Manifest, evidence: str | None = None) -> None:
        """Writes the whole file, with this manifest and evidence. Raises UsageError when it cannot be written."""
        self.manifest = manifest
        entries, digest = self._entries(manifest, evidence), self._digest.copy()
        digest.update(entries)
        with writing(self.path):
            with self.path.open("r+b" if self._has_model else "wb") as stream:
                if self._has_model:
                    stream.truncate(len(self._model))
                    stream.seek(len(self._model))
                else:
                    stream.write(self._model)
                stream.writelines([entries, seal_entry(digest.hexdigest())])
            self._has_model = True
            if manifest.files is not None:  # onnx writes the data for its owner alone
                shutil.copymode(self.path, data_path(self.path))

    def _entries(self, manifest: Manifest, evidence: str | None) -> bytes:
        metadata = onnx.ModelProto()  # protobuf lets a message's fields be appended to it
        texts = {Manifest.KEY: manifest.to_json(), LAYERS_KEY: self._layers}
        onnx.helper.set_model_props(metadata, texts | ({Evidence.KEY: evidence} if evidence is not None else {}))
        entries: bytes = metadata.SerializeToString()
        return entries


def data_path(path: Path) -> Path:
    """Where the weights of the model file `path` are if they are not in it."""
    return path.with_name(path.name + DATA_SUFFIX)


def _publish(written: Path, output: Path) -> None:
    """The data file first: a model file never appears without its weights. Killed in between, an old model file and the
    new data do not fit, which the runtime notices by the hash.
    """
    with writing(output), _alone_in(output.parent):
        if data_path(written).exists():
            os.replace(data_path(written), data_path(output))
            os.replace(written, output)
        else:
            os.replace(written, output)
            data_path(output).unlink(missing_ok=True)  # of an older, larger model of that name


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Makes other exports into `folder` wait, where the file system has locks."""
    handle = open_folder(os.path.realpath(folder))
    try:
        if handle is not None:
            take(handle)
        yield
    finally:
        close(handle)


def _remove_abandoned(output: Path) -> None:
    """Folders of staged() whose process is gone: each holds a lock on its own while it lives."""
    for folder in [
        path
        for path in output.parent.iterdir()
        if path.name.startswith(".") and path.name.endswith(_PART + output.name)
    ]:
        with suppress(OSError):
            handle = open_folder(folder)
            try:
                if handle is not None and take(handle, wait=False):
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                close(handle)
