"""From the arguments on the command line to a lazy stream of images. Opens no image, and never holds the list of a
large folder.
"""

import glob
import os
import sys
from collections.abc import Iterable, Iterator

from torchless.engine.results import Input
from torchless.image.formats import SUFFIXES, is_image_name

STDIN = "-"
_ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def expand(arguments: Iterable[str], *, recursive: bool = False) -> Iterator[Input]:
    """Files as they are; the images in folders, by name; quoted globs; URLs and archives; "-" as one image on standard
    input.

    An argument that leads to no image gives an Input with an error, so that the rest continues.
    """
    for argument in arguments:
        if argument == STDIN:
            yield _standard_input()
        elif os.path.isdir(argument):
            yield from _folder(argument, recursive)
        elif "://" not in argument and not os.path.lexists(argument) and glob.has_magic(argument):
            yield from _glob(argument, recursive)
        elif may_be_remote(argument):
            yield from _remote(argument, recursive)
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


def _remote(argument: str, recursive: bool) -> Iterator[Input]:
    from torchless.batch.remote import expand_remote

    yield from expand_remote(argument, recursive=recursive)


def count(arguments: Iterable[str], *, recursive: bool = False) -> int | None:
    """How many inputs `expand` would give, without opening any; None if that is not known in advance."""
    arguments = list(arguments)
    if any(argument == STDIN or may_be_remote(argument) for argument in arguments):
        return None
    return sum(1 for _ in expand(arguments, recursive=recursive))


def _standard_input() -> Input:
    if sys.stdin is None:
        return Input(STDIN, None, "standard input is closed")
    try:
        return Input(STDIN, sys.stdin.buffer.read())
    except OSError as error:
        return Input(STDIN, None, f"cannot read standard input: {error.strerror or error}")


def _folder(folder: str, recursive: bool) -> Iterator[Input]:
    found = False
    for item in _images_in(folder, recursive):
        found = True
        yield item
    if not found:
        hint = "" if recursive else " (its subfolders were not looked into)"
        yield Input(folder, None, f"no image in folder {folder}{hint}; images end in {', '.join(sorted(SUFFIXES))}")


def _images_in(folder: str, recursive: bool) -> Iterator[Input]:
    """The files of this folder first, then each subfolder's, all by name; hidden files and links to folders are
    skipped.
    """
    try:
        with os.scandir(folder) as entries:
            visible = sorted(
                (entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name
            )
    except OSError as error:
        yield Input(folder, None, f"cannot read folder {folder}: {error.strerror or error}")
        return
    yield from (
        Input(entry.path, entry.path)
        for entry in visible
        if is_image_name(entry.name) and not os.path.isdir(entry.path)
    )
    if recursive:
        for entry in visible:
            if entry.is_dir(follow_symlinks=False):
                yield from _images_in(entry.path, recursive)


def _glob(pattern: str, recursive: bool) -> Iterator[Input]:
    matches = sorted(_once_each(glob.glob(pattern, recursive=True)))
    if not matches:
        yield Input(pattern, None, f"nothing matches {pattern}")
    for match in matches:
        if os.path.isdir(match):
            yield from _folder(match, recursive) if recursive else ()
        elif may_be_remote(match):
            yield from _remote(match, recursive)
        else:
            yield Input(match, match)


def _once_each(paths: list[str]) -> Iterable[str]:
    """The shortest path to each entry: glob's ** follows links to folders, endlessly if they form a loop."""
    entries = {
        (os.path.realpath(os.path.dirname(path)), os.path.basename(path)): path
        for path in sorted(paths, key=len, reverse=True)
    }
    return entries.values()
