"""A model repository for Triton Inference Server, from artifacts.

    REPO/resnet50/config.pbtxt  labels.txt
    REPO/resnet50/1/model.onnx (and the data file that its graph names)
    REPO/resnet50/2/…                         a later export

A server that polls REPO never sees half of a model: each appears by renaming what was made beside REPO.
"""

import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from torchless.errors import UsageError
from torchless.files import atomic_path, writing
from torchless.model.artifact import Artifact, sha256_of
from torchless.records import dataclass
from torchless.triton.config import LABELS_FILE, MODEL_FILE, config_text
from torchless.triton.interface import Interface, read_interface
from torchless.triton.options import TritonOptions

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Placed:
    """A model in a repository; `is_new` is False if that version already held the same files."""

    name: str
    version: int
    interface: Interface
    is_new: bool


def write_repository(
    models: Sequence[Path], repository: Path, options: TritonOptions = TritonOptions()
) -> list[Placed]:
    """Puts artifacts into `repository`, each under its file's name: as version 1, or as the next version if its last
    one is another file.

    All are read before anything is written. Raises ArtifactError, or UsageError for invalid names and folders.
    """
    read = {path: read_interface(path) for path in models}
    for path in models:
        _check_name(path, models)
    with writing(repository):
        repository.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=repository.resolve().parent, prefix=f".{repository.name}.part.") as folder:
            return [_place(path, interface, repository, options, Path(folder)) for path, interface in read.items()]


def _check_name(path: Path, models: Sequence[Path]) -> None:
    if not _NAME.fullmatch(path.stem):
        raise UsageError(
            f"{path.stem!r} is not a valid model name: rename {path} to letters, digits, dots, dashes and underscores"
        )
    if [other.stem for other in models].count(path.stem) > 1:
        raise UsageError(f"two models would be called {path.stem!r}; rename one")


def _place(path: Path, interface: Interface, repository: Path, options: TritonOptions, staging: Path) -> Placed:
    home, staged = repository / path.stem, staging / path.stem
    staged.mkdir()
    (staged / "config.pbtxt").write_text(config_text(path.stem, interface, options), encoding="utf-8")
    (staged / LABELS_FILE).write_text(
        "".join(f"{' '.join(label.split())}\n" for label in interface.labels), encoding="utf-8"
    )
    versions = sorted(int(entry.name) for entry in home.iterdir() if entry.name.isdigit()) if home.is_dir() else []
    if versions and sha256_of(home / str(versions[-1]) / MODEL_FILE) == sha256_of(path):
        _replace_texts(staged, home)
        return Placed(path.stem, versions[-1], interface, is_new=False)
    version = versions[-1] + 1 if versions else 1
    _copy_model(interface.artifact, staged / str(version))
    if home.is_dir():
        _replace_texts(staged, home)
        (staged / str(version)).rename(home / str(version))
    else:
        staged.rename(home)
    return Placed(path.stem, version, interface, is_new=True)


def _copy_model(artifact: Artifact, folder: Path) -> None:
    folder.mkdir()
    model, *data = artifact.files
    shutil.copyfile(model, folder / MODEL_FILE)
    for file in data:  # under the name that the graph contains
        shutil.copyfile(file, folder / file.name)


def _replace_texts(staged: Path, home: Path) -> None:
    for name in ("config.pbtxt", LABELS_FILE):
        with atomic_path(home / name) as temporary:
            shutil.copyfile(staged / name, temporary)
