"""The model files that the operator named: single ones, folders of them, and versions as in Triton's model repository.

models/resnet50.onnx               resnet50, version 1
models/resnet50/1/model.onnx       resnet50, version 1; the file may have any name
models/resnet50/12/model.onnx      resnet50, version 12
"""

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from torchless.errors import ArtifactNotFoundError, UsageError
from torchless.model.signing import SUFFIX
from torchless.records import dataclass

Policy = Literal["latest", "all"]
State = Mapping[str, tuple[int, ...]]  # of each file, by its name: what changes when it does
IMAGE_SUFFIX = "_image"
SIGNATURE = SUFFIX

_VERSION = re.compile(r"[1-9][0-9]{0,17}")  # as Triton's: those that begin with 0 are none
_BESIDE = (".data", SIGNATURE)


class Key(NamedTuple):
    """A version of a model."""

    name: str
    version: int = 1

    def __str__(self) -> str:
        return f"{self.name}/{self.version}"


@dataclass(frozen=True)
class ModelFile:
    """A file that the operator named or that was found; a version has a folder whose files are all its own."""

    path: Path
    is_version: bool = False

    def state(self, data_files: Collection[str] = ()) -> State:
        """Of the model's files that are there; the `data_files` are those that it names. Raises
        ArtifactNotFoundError if they cannot be looked at.
        """
        folder = self.path.parent
        try:
            own = _visible(folder) if self.is_version else [self.path.name + end for end in ("", *_BESIDE)]
            return dict(_states(folder, {*own, *data_files}))
        except OSError as error:
            raise ArtifactNotFoundError(f"cannot read {self.path}: {error.strerror or error}") from None

    @property
    def is_gone(self) -> bool:
        """False where that cannot be told."""
        try:
            return not self.path.exists()
        except OSError:
            return False

    def without_folder(self, text: str) -> str:
        """For those who may see no path of this machine."""
        return text.replace(f"{self.path.parent}{os.sep}", "")

    def origin(self) -> "Origin":
        return Origin(self.path, self, self.state())


@dataclass(frozen=True)
class Origin:
    """Where a model is loaded from: `path` is that of the `file`, or of a copy that was made when the file was in this
    `state`. Without a `file` it is a copy of one that lies elsewhere.
    """

    path: Path
    file: ModelFile | None = None
    state: State | None = None

    @property
    def is_copy(self) -> bool:
        return self.file is None or self.path != self.file.path


@dataclass(frozen=True)
class Found:
    """The `files` of the versions that are to be served, newest first; `problems` by the model or folder that has
    one, and none of its files; folders that were `passed_over`, in sentences.
    """

    files: Mapping[Key, ModelFile]
    problems: Mapping[str, str]
    passed_over: tuple[str, ...]

    def of(self, name: str) -> dict[Key, ModelFile]:
        """The files of one model."""
        return {key: file for key, file in self.files.items() if key.name == name}


def find_models(given: Iterable[Path], policy: Policy, *, folders: Collection[Path] = ()) -> Found:
    """What there is at this moment. Of `given`, those in `folders` must be folders, as they were before."""
    search = _Search(policy)
    for path in given:
        if path in folders or os.path.isdir(path):
            search.folder(path)
        else:
            search.add(path.stem, path, [(1, ModelFile(path))])
    return search.found()


class _Search:
    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._homes: dict[str, Path] = {}  # the file or folder of each model
        self._files: dict[Key, ModelFile] = {}
        self._problems: dict[str, str] = {}
        self._passed_over: list[str] = []

    def folder(self, folder: Path) -> None:
        """A folder of files and of models with versions, or that of one such model."""
        try:
            if self._versions(folder):
                return
            files, homes = _models_in(folder), _folders_in(folder)
            for path in files:
                self.add(path.stem, path, [(1, ModelFile(path))])
            versions = [self._readable_versions(home) for home in homes]
            if not any(versions) and not files:
                self._problems[str(folder)] = (
                    f"there is no .onnx file in {folder}, and no folder NAME/1 in it that has one"
                )
        except OSError as error:
            self._problems[str(folder)] = f"cannot read {folder}: {error.strerror or error}"

    def _readable_versions(self, home: Path) -> bool:
        """A volume has a folder lost+found, for example, which only its administrator can read."""
        try:
            return self._versions(home)
        except PermissionError as error:
            self._passed_over.append(f"{error.filename or home} is passed over: it cannot be read ({error.strerror})")
            return False

    def _versions(self, home: Path) -> bool:
        """Adds a model's versions; False if the folder has none."""
        numbered = {path: _models_in(path) for path in _folders_in(home) if path.name.isdecimal()}
        held = {int(path.name): files for path, files in numbered.items() if files and _VERSION.fullmatch(path.name)}
        others = [path for path in _folders_in(home) if held and path not in numbered and _models_in(path)]
        self._passed_over += [
            f"{path} is passed over: a version is a folder called 1, 2, … with an .onnx file in it"
            for path in (*numbered, *others)
            if not (_VERSION.fullmatch(path.name) and numbered[path]) and (held or not _visible(path))
        ]
        if not held:
            return False
        name = home.absolute().name
        chosen = sorted(held, reverse=True)[: 1 if self._policy == "latest" else None]
        self.add(name, home, [(number, ModelFile(held[number][0], is_version=True)) for number in chosen])
        if beside := _models_in(home):
            self._problems[name] = (
                f"{beside[0]} lies beside versions; put it into a folder of its own, such as {home}/1"
            )
        for number in chosen:
            if len(held[number]) > 1:
                names = " and ".join(path.name for path in held[number][:2])
                self._problems[name] = f"{held[number][0].parent} has {names}; a version is one .onnx file"
        return True

    def add(self, name: str, home: Path, files: Iterable[tuple[int, ModelFile]]) -> None:
        other = self._homes.setdefault(name, home)
        if other != home:
            self._problems[name] = f"{other} and {home} would both be called {name!r}; rename one"
        self._files |= {Key(name, version): file for version, file in files}

    def found(self) -> Found:
        for name in self._homes:
            if name + IMAGE_SUFFIX in self._homes:
                self._problems[name + IMAGE_SUFFIX] = (
                    f"a model called {name + IMAGE_SUFFIX!r} cannot be served with {name!r}, which uses that name "
                    f"for images"
                )
        files = {key: file for key, file in self._files.items() if key.name not in self._problems}
        return Found(files, self._problems, tuple(self._passed_over))


def check(found: Found) -> Found:
    """Raises UsageError for the first problem."""
    for problem in found.problems.values():
        raise UsageError(problem)
    return found


def _visible(folder: Path) -> list[str]:
    """Hidden files are skipped: an export has not proved them yet, or a copy is not complete."""
    return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def _models_in(folder: Path) -> list[Path]:
    return [folder / name for name in _visible(folder) if name.endswith(".onnx")]


def _folders_in(folder: Path) -> list[Path]:
    return [path for path in map(folder.joinpath, _visible(folder)) if os.path.isdir(path) and path.suffix != ".onnx"]


def _states(folder: Path, names: Iterable[str]) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Renaming a file changes its ctime. Inodes say less: mounted object stores give a file another one each time."""
    for name in sorted(names):
        try:
            found = (folder / name).stat()
        except FileNotFoundError:
            continue
        yield name, (found.st_size, found.st_mtime_ns, found.st_ctime_ns)
