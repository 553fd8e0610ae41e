"""From the arguments on the command line to a lazy stream of images. Opens no image, and never holds the list of a
large folder.
"""

import os
import sys
from collections.abc import Iterable, Iterator

from torchless.batch.limits import Limits
from torchless.batch.passed_over import PassedOver
from torchless.engine.results import Input
from torchless.errors import ImageTooLargeError
from torchless.image.content import read_limited
from torchless.process import is_terminal, tell

STDIN = "-"
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def expand(
    arguments: Iterable[str],
    *,
    recursive: bool = False,
    passed_over: PassedOver | None = None,
    limits: Limits = Limits(),
) -> Iterator[Input]:
    """Files as they are; the images in folders, by name; quoted globs; URLs and archives; "-" as one image on standard
    input.

    An argument that leads to no image gives an Input with an error, so that the rest continues. `passed_over` counts
    what folders and archives hold besides images. `limits` bound what is read of standard input, archives and URLs.
    """
    passed_over = passed_over if passed_over is not None else PassedOver()
    for argument in arguments:
        if argument == STDIN:
            yield _standard_input(limits)
        elif os.path.isdir(argument):
            yield from _folder(argument, recursive, passed_over)
        elif "://" not in argument and not os.path.lexists(argument) and _has_magic(argument):
            yield from _glob(argument, recursive, passed_over, limits)
        elif may_be_remote(argument):
            yield from _remote(argument, recursive, passed_over, limits)
        else:
            yield Input(argument, argument)


def check(arguments: Iterable[str]) -> None:
    """Raises MissingDependencyError before any work is done, if an argument needs a package that is not installed."""
    if remote := [argument for argument in arguments if may_be_remote(argument)]:
        from torchless.batch.remote import check_packages

        check_packages(remote)


def may_be_remote(argument: str) -> bool:
    """Whether an argument is a URL or an archive. A local file or folder whose name looks like a URL counts as
    local.
    """
    archive = argument.lower().endswith(_ARCHIVES)
    return archive if os.path.lexists(argument) else archive or "://" in argument


def _remote(argument: str, recursive: bool, passed_over: PassedOver, limits: Limits) -> Iterator[Input]:
    from torchless.batch.remote import expand_remote

    yield from expand_remote(argument, recursive=recursive, passed_over=passed_over, limits=limits)


def count(arguments: Iterable[str], *, recursive: bool = False, strict: bool = False) -> int | None:
    """How many inputs `expand` would give, without opening any; None if that is not known in advance."""
    arguments = list(arguments)
    if any(argument == STDIN or may_be_remote(argument) for argument in arguments):
        return None
    return sum(1 for _ in expand(arguments, recursive=recursive, passed_over=PassedOver(strict)))


def _standard_input(limits: Limits) -> Input:
    if sys.stdin is None:
        return Input(STDIN, None, "standard input is closed")
    if is_terminal(sys.stdin):
        tell("reading an image from standard input")
    try:
        return Input(STDIN, read_limited(sys.stdin.buffer.read, limits.max_bytes))
    except ImageTooLargeError as error:
        return Input(STDIN, None, str(error))
    except OSError as error:
        return Input(STDIN, None, f"cannot read standard input: {error.strerror or error}")


def _folder(folder: str, recursive: bool, passed_over: PassedOver) -> Iterator[Input]:
    found, here = False, PassedOver(passed_over.strict)
    for item in _images_in(folder, recursive, here):
        found = True
        yield item
    if found:
        passed_over.add(here)
    else:
        yield Input(folder, None, here.nothing_in(f"folder {folder}"))


def _images_in(top: str, recursive: bool, passed_over: PassedOver) -> Iterator[Input]:
    """The files of this folder first, then each subfolder's, all by name."""
    to_do = [top]
    while to_do:
        folder = to_do.pop()
        try:
            with os.scandir(folder) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as error:
            yield Input(folder, None, f"cannot read folder {folder}: {error.strerror or error}")
            continue
        below = []
        for entry in found:
            if not _is_folder(entry):
                yield from passed_over.image_or_other(entry.name, Input(entry.path, entry.path))
            elif not entry.name.startswith("."):
                if recursive and not entry.is_symlink():
                    below.append(entry.path)
                else:
                    yield from (passed_over.link if recursive else passed_over.folder)(entry.path)
        to_do += reversed(below)


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    return os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()  # which raises for a link to itself


def _has_magic(argument: str) -> bool:
    import glob

    return glob.has_magic(argument)


def _glob(pattern: str, recursive: bool, passed_over: PassedOver, limits: Limits) -> Iterator[Input]:
    import glob

    try:
        matches = sorted(_once_each(glob.glob(pattern, recursive=True)))
    except RecursionError:
        yield Input(pattern, None, f"{pattern} leads through too many folders; give the folder itself, and `recursive`")
        return
    if not matches:
        yield Input(pattern, None, f"nothing matches {pattern}")
    for match in matches:
        if os.path.isdir(match):
            yield from _folder(match, recursive, passed_over) if recursive else passed_over.folder(match)
        elif may_be_remote(match):
            yield from _remote(match, recursive, passed_over, limits)
        else:
            yield Input(match, match)


def _once_each(paths: list[str]) -> Iterable[str]:
    """The shortest path to each entry: glob's ** follows links to folders, endlessly if they form a loop."""
    entries = {
        (os.path.realpath(os.path.dirname(path)), os.path.basename(path)): path
        for path in sorted(paths, key=len, reverse=True)
    }
    return entries.values()
