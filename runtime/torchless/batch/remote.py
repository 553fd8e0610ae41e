"""Images that are not local files: whatever fsspec opens (s3://, gs://, https://, zip://, …), and tar archives, read
from front to back.

The worker that needs a URL fetches it, so downloads overlap with everything else. A tar archive has no index, so the
one thread that lists the inputs streams it. Each image has a name that can be given as an argument again:
`s3://bucket/a.jpg`, `zip://a.jpg::photos.zip`, `tar://a.jpg::shard.tar`.
"""

import glob
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import IO, Any

from torchless.engine.results import Input
from torchless.errors import ImageReadError, MissingDependencyError, extra, first_line
from torchless.image.formats import SUFFIXES, is_image_name

_TAR = re.compile(r"\.(tar|tar\.gz|tgz|tar\.bz2|tar\.xz)$", re.IGNORECASE)
_PACKAGES = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs"}
_WEB = ("http", "https")


def check_packages(arguments: Iterable[str]) -> None:
    """Raises MissingDependencyError if an argument needs something that is not installed. An unknown protocol becomes a
    row with an error later.
    """
    for argument in arguments:
        for part in _as_url(argument).split("::"):
            protocol, separator, _ = part.partition("://")
            if separator:
                _check_package(argument, protocol.lower())


def expand_remote(argument: str, *, recursive: bool) -> Iterator[Input]:
    """The images of a URL or an archive: one image, those in a folder, those that match a pattern, or all in an
    archive.

    What cannot be listed gives an Input with an error.
    """
    url = _as_url(argument)
    found = False
    try:
        for item in _tar_members(argument) if _is_tar(url) else _files(url, recursive):
            found = True
            yield item
    except (MissingDependencyError, GeneratorExit):
        raise
    except Exception as error:  # the errors of networks, servers and archives have no common base class
        yield Input(argument, None, f"cannot read {argument}: {_reason(error)}")
        return
    if not found:
        yield Input(argument, None, f"no image in {argument}; images end in {', '.join(sorted(SUFFIXES))}")


def _as_url(argument: str) -> str:
    """A bare `photos.zip`, wherever it lies, is short for everything in it."""
    return f"zip://::{argument}" if argument.lower().endswith(".zip") and "::" not in argument else argument


def _is_tar(url: str) -> bool:
    return _TAR.search(url) is not None and "::" not in url


def _check_package(argument: str, protocol: str) -> None:
    fsspec = _import_fsspec(argument)
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        package = _PACKAGES.get(protocol)
        fix = (
            f"pip install {package}"
            if package
            else "pip install 'torchless[remote]'"
            if protocol in _WEB
            else first_line(error)
        )
        raise MissingDependencyError(f"{argument} needs a package that is not installed: {fix}") from None
    except ValueError:  # no such protocol
        pass


def _import_fsspec(argument: str) -> Any:
    with extra("remote", argument):
        import fsspec
    return fsspec


def _files(url: str, recursive: bool) -> Iterator[Input]:
    fs, path = _import_fsspec(url).core.url_to_fs(url)
    lock: AbstractContextManager[object] = Lock() if _is_archive(fs) else nullcontext()
    for file in _listed(fs, path, url, recursive):
        name = url if file == path else _name(fs, file, url)
        yield Input(name, Fetch(fs, file, name, lock))


def _listed(fs: Any, path: str, url: str, recursive: bool) -> Iterable[str]:
    """The paths, as the file system writes them. Makes no request for what is an image by its name."""
    first = url.partition("::")[0]
    if first.partition("://")[0].lower() in _WEB:  # the web has no folders, and * and ? in its URLs are not patterns
        return [path]
    if glob.has_magic(first):
        return [file for file in sorted(fs.glob(path)) if is_image_name(file)]
    whole_archive = _is_archive(fs) and not path
    if not whole_archive and (is_image_name(path) or not fs.isdir(path)):
        return [path]
    depth = None if recursive or _is_archive(fs) else 1
    return [file for file in sorted(fs.find(path, maxdepth=depth)) if is_image_name(file) and not _hidden(file)]


def _name(fs: Any, file: str, url: str) -> str:
    first, chained, rest = url.partition("::")
    return f"{first.partition('://')[0]}://{file}::{rest}" if chained else str(fs.unstrip_protocol(file))


@dataclass(frozen=True)
class Fetch:
    """Reads a file of an fsspec file system when called. Raises ImageReadError, which contains `name`."""

    fs: Any
    file: str
    name: str
    lock: AbstractContextManager[object]

    @property
    def travels(self) -> bool:
        """Whether another process can do it too: a file system can be reopened there, an archive's open file cannot."""
        return not _is_archive(self.fs)

    def __call__(self) -> bytes:
        try:
            with self.lock:
                data: bytes = self.fs.cat_file(self.file)
        except Exception as error:  # as in expand_remote
            raise ImageReadError(f"cannot read {self.name}: {_reason(error)}") from None
        return data


def _tar_members(argument: str) -> Iterator[Input]:
    """The images of a tar archive, in their order there. One image at a time is in memory, for as long as the pipeline
    needs it.
    """
    with _open(argument) as file, tarfile.open(fileobj=file, mode="r|*") as archive:
        for member in archive:
            content = (
                archive.extractfile(member)
                if member.isfile() and is_image_name(member.name) and not _hidden(member.name)
                else None
            )
            if content is not None:
                yield Input(f"tar://{member.name}::{argument}", content.read())
            archive.members.clear()  # type: ignore[attr-defined]  # it would remember every member


def _open(argument: str) -> IO[bytes]:
    if "://" not in argument:
        return Path(argument).open("rb")
    opened: IO[bytes] = _import_fsspec(argument).open(argument, "rb").open()
    return opened


def _is_archive(fs: Any) -> bool:
    """Whether it is an archive. Archives are read through one file, which only one thread at a time may use."""
    return any("Archive" in kind.__name__ for kind in type(fs).__mro__)


def _hidden(file: str) -> bool:
    return file.rsplit("/", 1)[-1].startswith(".")


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "No such file or directory"
    if isinstance(error, zlib.error | EOFError | tarfile.TarError):
        return f"the archive is damaged ({first_line(error)})"
    return getattr(error, "strerror", None) or first_line(error)
