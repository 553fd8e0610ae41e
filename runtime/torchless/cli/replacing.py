"""No verb writes onto what it reads: the model, labels, images, a dataset's list, a checkpoint, a key."""

import glob
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from torchless.errors import UsageError
from torchless.image.formats import is_image_name

OUTPUTS = "output", "report", "confusion_matrix", "wheelhouse"
_BESIDE = ".data", ".sig"  # what belongs to a model file
_IN_FOLDER = "comparison.json", "measurements.json", "report.html"  # what compare writes there


def check_outputs(values: Mapping[str, object]) -> None:
    """Raises UsageError if an output is something that the verb reads, also through links. `values` are a verb's
    arguments and options by parameter.

    Only an output that exists can be; so a first run pays nothing for this.
    """
    for name in OUTPUTS:
        output = values.get(name)
        if isinstance(output, Path) and os.path.lexists(output):  # False where nobody may look
            for parameter, read in _read_by(values):
                if _is_same(output, read, parameter):
                    raise UsageError(
                        f"`{name}` {output} is something that this command reads ({read}), and would be replaced; name "
                        "another"
                    )


def _read_by(values: Mapping[str, object]) -> Iterator[tuple[str, Path]]:
    for name, value in values.items():
        if name not in OUTPUTS:
            for each in value if isinstance(value, list | tuple) else [value]:
                if isinstance(each, str | Path):
                    # Nothing before a colon is no name; as a path it would be the current folder.
                    yield from ((name, Path(named)) for named in _named_by(str(each)) if named)


def _named_by(text: str) -> Iterator[str]:
    """What an argument may name: a file with those that belong to it, an archive's member, a builder, a pattern."""
    yield text
    yield from (text + suffix for suffix in _BESIDE)
    yield text.rpartition("::")[2]
    yield text.rpartition(":")[0]
    if glob.has_magic(text) and not os.path.lexists(text):
        yield from glob.iglob(text, recursive=True)


def _is_same(output: Path, read: Path, parameter: str) -> bool:
    try:
        if read.samefile(output):
            return output.is_file() or parameter == "data"  # charts among the classes; other folders have their errors
        if read.is_dir():
            return output.is_file() and _holds(read, output.stat())
        return output.is_dir() and read.name in _IN_FOLDER and read.parent.samefile(output)
    except (OSError, ValueError):  # there is no such file; or it is no name of a file at all
        return False


def _holds(top: Path, wanted: os.stat_result) -> bool:
    """Whether it is one of the images in a folder. Asks about no file that is not a link."""
    to_do = [os.fspath(top)]
    while to_do:
        with os.scandir(to_do.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    to_do.append(entry.path)
                elif (entry.is_symlink() or entry.inode() == wanted.st_ino) and is_image_name(entry.name):
                    with suppress(OSError):  # a link to nowhere
                        if os.path.samestat(entry.stat(), wanted):
                            return True
    return False
