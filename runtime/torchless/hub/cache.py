"""The folder in which fetched models lie. It can be deleted at any time.

CACHE/models/KEY/current.json      what was fetched last under a name
CACHE/models/KEY/lock              taken while someone fetches
CACHE/models/KEY/VERSION/          the files of one version: NAME.onnx, its data files, its signature
CACHE/models/KEY/.part-VERSION/    the same, while they come; the next attempt goes on with it
"""

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torchless import locks
from torchless.codec import decode, encode, loads
from torchless.errors import ManifestError
from torchless.files import atomic_path, writing
from torchless.process import tell
from torchless.records import dataclass

CACHE = "TORCHLESS_CACHE"
_CURRENT, _PART = "current.json", ".part-"


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A version that lies in the cache: `tag` is its server's word for it (an ETag, a commit), `when` the day."""

    name: str
    tag: str
    version: str
    file: str
    sha256: str
    when: str


def cache_folder() -> Path:
    """$TORCHLESS_CACHE; by default a folder of ours where the system wants such files."""
    if given := os.environ.get(CACHE):
        return Path(given)
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local") / "torchless" / "cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "torchless"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "torchless"


@dataclass(frozen=True)
class Shelf:
    """Where the versions of one name lie."""

    name: str

    @property
    def folder(self) -> Path:
        return cache_folder() / "models" / _short(self.name)

    @property
    def current(self) -> Fetched | None:
        """What was fetched last and is still there."""
        try:
            text = (self.folder / _CURRENT).read_text("utf-8")
            record: Fetched = decode(Fetched, loads(text, _CURRENT), _CURRENT)
        except (OSError, UnicodeDecodeError, ManifestError):  # what is damaged is fetched again
            return None
        return record if record.name == self.name and self.path(record).is_file() else None

    def path(self, fetched: Fetched) -> Path:
        """The model file of a version."""
        return self.folder / fetched.version / fetched.file

    def part(self, tag: str) -> Path:
        """The folder in which a version comes. Raises UsageError if it cannot be made."""
        folder = self.folder / f"{_PART}{_short(tag)}"
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
        return folder

    def keep(self, part: Path, *, tag: str, file: str, sha256: str, when: str) -> Path:
        """Makes a complete part the current version, and removes those of others, which nobody can go on with; returns
        its model file. Raises UsageError for a full disk.
        """
        fetched = Fetched(
            name=self.name, tag=tag, version=_short(f"{tag} {sha256}"), file=file, sha256=sha256, when=when
        )
        final = self.folder / fetched.version
        with writing(final):
            if final.exists():  # of an earlier fetch, and perhaps in use
                shutil.rmtree(part)
            else:
                os.replace(part, final)
            with atomic_path(self.folder / _CURRENT) as temporary:
                temporary.write_text(json.dumps(encode(fetched), indent=2) + "\n", encoding="utf-8")
        for other in self.folder.glob(f"{_PART}*"):
            shutil.rmtree(other, ignore_errors=True)
        return self.path(fetched)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Waits for others who fetch the same model. Raises UsageError where the folder cannot be written to."""
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = (self.folder / "lock").open("wb")
        with lock:
            try:
                locks.take(lock, wait=False)
            except BlockingIOError:
                tell(f"{self.name}: waiting for another process that fetches it")
                locks.take(lock)
            yield


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
