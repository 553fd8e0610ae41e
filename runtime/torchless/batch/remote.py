"""Images that are not local files: archives, and whatever fsspec opens (s3://, gs://, https://, …). Archives of this
machine need no fsspec.

The worker that needs a URL fetches it, so downloads overlap with everything else. Each image has a name that can be
given as an argument again: `s3://bucket/a.jpg`.
"""

import glob
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from types import MappingProxyType
from typing import IO, Any

from torchless.batch.archives import (
    in_local_zip,
    is_tar,
    is_zip,
    open_local,
    open_zip,
    tar_members,
    zip_members,
)
from torchless.batch.download import download, file_system, open_file, why
from torchless.batch.limits import Limits
from torchless.batch.passed_over import PassedOver
from torchless.engine.results import Input
from torchless.errors import ImageReadError, MissingDependencyError, extra, missing_package
from torchless.image.formats import is_image_name
from torchless.records import dataclass

_WEB = ("http", "https")
_SAID = ("size", "ETag", "etag", "mtime", "LastModified", "updated", "CRC")  # of a file, by one file system or another


def check_packages(arguments: Iterable[str]) -> None:
    """Raises MissingDependencyError if an argument needs something that is not installed. An unknown protocol becomes a
    row with an error later.
    """
    for argument in arguments:
        if in_local_zip(argument) is not None:
            continue
        for part in _as_url(argument).split("::"):
            protocol, separator, _ = part.partition("://")
            if separator:
                _check_package(argument, protocol.lower())


def expand_remote(
    argument: str, *, recursive: bool, passed_over: PassedOver, limits: Limits = Limits()
) -> Iterator[Input]:
    """The images of a URL or an archive: one image, those in a folder, those that match a pattern, or all in an
    archive.

    What cannot be listed gives an Input with an error.
    """
    found, here = False, PassedOver(passed_over.strict)
    try:
        for item in _inputs(argument, recursive, here, limits):
            found = True
            yield item
    except (MissingDependencyError, GeneratorExit):
        raise
    except Exception as error:  # the errors of networks, servers and archives have no common base class
        yield Input(argument, None, f"cannot read {argument}: {why(error, limits)}")
        return
    if found:
        passed_over.add(here)
    else:
        yield Input(argument, None, here.nothing_in(argument))


def _inputs(argument: str, recursive: bool, passed_over: PassedOver, limits: Limits) -> Iterator[Input]:
    if (local := in_local_zip(argument)) is not None:
        yield from zip_members(open_zip(local[1]), *local, passed_over, limits)
    elif is_zip(argument):
        fs, _ = _file_system(_as_url(argument), limits)
        yield from zip_members(fs.zip, "", argument, passed_over, limits, source=fs)
    elif is_tar(argument):
        with _open(argument, limits) as file:
            yield from tar_members(file, argument, passed_over, limits)
    else:
        yield from _files(argument, recursive, passed_over, limits)


def _as_url(argument: str) -> str:
    """A bare `photos.zip`, wherever it lies, is short for everything in it."""
    return f"zip://::{argument}" if is_zip(argument) else argument


def _check_package(argument: str, protocol: str) -> None:
    fsspec = _import_fsspec(argument)
    try:
        fsspec.get_filesystem_class(protocol)
    except ImportError as error:
        raise missing_package(argument, protocol, error) from None
    except ValueError:  # no such protocol
        pass


def _import_fsspec(argument: str) -> Any:
    with extra("remote", argument):
        import fsspec
    return fsspec


def _files(url: str, recursive: bool, passed_over: PassedOver, limits: Limits) -> Iterator[Input]:
    fs, path = _file_system(url, limits)
    lock: AbstractContextManager[object] = Lock() if _is_archive(fs) else nullcontext()

    def as_input(file: str, info: Mapping[str, Any] = MappingProxyType({})) -> Input:
        name = url if file == path else _name(fs, file, url)
        stamp = "-".join(str(info[key]) for key in _SAID if info.get(key) is not None)
        return Input(name, Fetch(fs, file, name, lock, limits, stamp))

    if _is_one_image(fs, path, url):
        yield as_input(path)
        return
    if glob.has_magic(url.partition("::")[0]):
        found = fs.glob(path, detail=True)
        yield from (as_input(file, info) for file, info in sorted(found.items()) if is_image_name(file))
        return
    depth = None if recursive or _is_archive(fs) else 1
    listed = fs.find(path, maxdepth=depth, withdirs=depth == 1, detail=True)
    for file, info in sorted(listed.items()):
        if info.get("type") != "directory":
            yield from passed_over.image_or_other(file, as_input(file, info))
        elif file.rstrip("/") != path.rstrip("/"):
            yield from passed_over.folder(_name(fs, file, url))


def _is_one_image(fs: Any, path: str, url: str) -> bool:
    """Makes no request for what is an image by its name."""
    first = url.partition("::")[0]
    if first.partition("://")[0].lower() in _WEB:  # the web has no folders, and * and ? in its URLs are not patterns
        return True
    if glob.has_magic(first):
        return False
    whole_archive = _is_archive(fs) and not path
    return not whole_archive and (is_image_name(path) or not fs.isdir(path))


def _name(fs: Any, file: str, url: str) -> str:
    first, chained, rest = url.partition("::")
    return f"{first.partition('://')[0]}://{file}::{rest}" if chained else str(fs.unstrip_protocol(file))


@dataclass(frozen=True)
class Fetch:
    """Reads a file of an fsspec file system when called. Raises ImageReadError, which contains `name`. `stamp` changes
    with its content, as far as the listing said.
    """

    fs: Any
    file: str
    name: str
    lock: AbstractContextManager[object]
    limits: Limits
    stamp: str = ""

    @property
    def travels(self) -> bool:
        """Whether another process can do it too: a file system can be reopened there, an archive's open file cannot."""
        return not _is_archive(self.fs)

    def __call__(self) -> bytes:
        try:
            with self.lock:
                return download(self.fs, self.file, self.limits)
        except Exception as error:  # as in expand_remote
            raise ImageReadError(f"cannot read {self.name}: {why(error, self.limits)}") from None


def _file_system(url: str, limits: Limits) -> tuple[Any, str]:
    return file_system(_import_fsspec(url), url, limits)


def _open(argument: str, limits: Limits) -> IO[bytes]:
    if "://" not in argument:
        return open_local(argument)
    opened: IO[bytes] = open_file(_import_fsspec(argument), argument, limits)
    return opened


def _is_archive(fs: Any) -> bool:
    """Whether it is an archive. Archives are read through one file, which only one thread at a time may use."""
    return any("Archive" in kind.__name__ for kind in type(fs).__mro__)
