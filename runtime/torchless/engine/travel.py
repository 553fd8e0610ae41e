"""How a Classifier gets into another process: as a ticket that says which file it was and how it was opened.

No weights travel. The other side opens the same file, which must have the same bytes, when it first needs it: an error
is then raised where the classifier is used, and not while a pool of processes unpacks it, which some answer by waiting
for ever.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

from torchless.engine.session import Session, check_unchanged
from torchless.errors import ArtifactDamagedError, ArtifactNotFoundError, ExternalDataError
from torchless.files import Snapshot
from torchless.forking import Locks
from torchless.model.artifact import read_artifact, sha256_of
from torchless.model.manifest import Manifest
from torchless.model.onnxfile import HeldFiles, OnnxFile, read_onnx
from torchless.records import dataclass

Opened = TypeVar("Opened")
_KEPT = 4  # classifiers of tickets: a pool sends the same one with every task


@dataclass(frozen=True, kw_only=True)
class Ticket:
    """`path` is absolute; `hashes` are the SHA-256 of the model file and of its data files, by name; `held` says that
    the bytes that are checked must be those that are loaded; `options` are parameters of Classifier.
    """

    path: str
    hashes: Mapping[str, str]
    held: bool
    manifest: Manifest | None
    options: Mapping[str, Any] = field(repr=False)

    def open(self, of: Callable[..., Opened]) -> Opened:
        """`of` the artifact and the options, called now or before in this process.

        Raises ArtifactNotFoundError without the file, ArtifactDamagedError for another file, and what Classifier
        raises.
        """
        import pickle

        key = pickle.dumps(self)
        with _opening.of(None):
            if key not in _OPENED:
                artifact = read_artifact(self._checked(), manifest=self.manifest, labels=self.options["labels"])
                _OPENED[key] = of(artifact, **self.options)
            _OPENED.move_to_end(key)
            while len(_OPENED) > _KEPT:
                _OPENED.popitem(last=False)
            opened: Opened = _OPENED[key]
            return opened

    def _checked(self) -> OnnxFile:
        path = Path(self.path)
        if not path.is_file():
            raise ArtifactNotFoundError(
                f"a Classifier travels without its file, and there is no {path} on {_here()}: put it there too"
            )
        if not self.held:
            for name, wanted in self.hashes.items():
                _compare(path.with_name(name), sha256_of(path.with_name(name)), wanted)
            return read_onnx(path)
        import hashlib

        contents = {name: path.with_name(name).read_bytes() for name in self.hashes}
        for name, content in contents.items():
            _compare(path.with_name(name), hashlib.sha256(content).hexdigest(), self.hashes[name])
        return read_onnx(path, held=HeldFiles(contents.pop(path.name), contents))


_OPENED: "OrderedDict[bytes, Any]" = OrderedDict()
_opening = Locks()


def ticket_of(file: OnnxFile, files: Snapshot, manifest: Manifest, options: Mapping[str, Any]) -> Ticket:
    """The ticket of a model that was opened from `files`, which it reads: about a second per GB.

    Raises ArtifactDamagedError if they have changed since.
    """
    path, *others = files.paths
    if any(other.parent != path.parent for other in others):
        raise ExternalDataError(f"{path} keeps weights in another folder, so no other process can be sent there")
    held = file.held
    if held is None:
        check_unchanged(files)
        hashes = {each.name: sha256_of(each) for each in files.paths}
    else:
        import hashlib

        hashes = {
            name: hashlib.sha256(each).hexdigest() for name, each in {path.name: held.content, **held.data}.items()
        }
    own = Manifest.KEY in file.metadata
    return Ticket(
        path=str(path), hashes=hashes, held=held is not None, manifest=None if own else manifest, options=options
    )


def _compare(path: Path, found: str, wanted: str) -> None:
    if found != wanted:
        raise ArtifactDamagedError(
            f"{path} on {_here()} is not the file that the Classifier was opened with (SHA-256 {found[:12]}…, "
            f"not {wanted[:12]}…): copy that one there"
        )


def _here() -> str:
    import platform

    return platform.node()


# What an open classifier has, and one that was sent here has not until it is needed.
_PUBLIC = ("artifact", "manifest", "file", "head", "labels", "device", "device_note", "assignment", "threads")
_PRIVATE = ("_options", "_ticket", "_session", "_shared_session", "_fixed_batch", "_image_options")
_OPEN = frozenset(_PUBLIC + _PRIVATE)


class Travels:
    """What makes a Classifier travel. Copies in the same process share its model, which never changes."""

    file: OnnxFile
    manifest: Manifest
    _options: Mapping[str, Any]
    _session: Session
    _ticket: Ticket | None

    def __getstate__(self) -> dict[str, Any]:
        """A ticket instead of the model; and what was added from outside. Raises ArtifactDamagedError if the model's
        file was replaced since it was opened.
        """
        added = {name: value for name, value in self.__dict__.items() if name not in _OPEN}
        return added | {"_ticket": self._not_yet or self._checked_ticket()}

    @property
    def _not_yet(self) -> Ticket | None:
        """The ticket of a classifier that was sent here and is not open."""
        return None if "artifact" in self.__dict__ else self.__dict__.get("_ticket")

    def _checked_ticket(self) -> Ticket:
        if self._ticket is None:
            self._ticket = ticket_of(self.file, self._session.files, self.manifest, self._options)
        elif not self._ticket.held:
            check_unchanged(self._session.files)
        return self._ticket

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            """Opens a classifier that was sent here, when it is first needed."""
            if name not in _OPEN or self._not_yet is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            opened = self._not_yet.open(self.of)
            self.__dict__.update({**opened.__dict__, **self.__dict__})
            return self.__dict__[name]

    def __copy__(self) -> Self:
        twin = type(self).__new__(type(self))
        twin.__dict__.update(self.__dict__)
        return twin

    def __deepcopy__(self, _: object) -> Self:
        return self.__copy__()
