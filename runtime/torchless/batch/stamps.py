"""What changes when the image under a name is replaced, so that a resumed run does it again."""

import zlib
from os import PathLike
from pathlib import Path

from torchless.engine.results import Input

MISSING = "missing"


def stamp_of(item: Input) -> str:
    """Size and time of change of a local file; of a member of an archive or a listed URL, what the archive or the
    server says; length and checksum of bytes. Empty where nothing is known without fetching the image.
    """
    image = item.image
    if isinstance(image, bytes):
        return f"{len(image)}-{zlib.crc32(image):08x}"
    if isinstance(image, str | PathLike):
        try:
            now = Path(image).stat()
        except (OSError, ValueError):
            return MISSING
        return f"{now.st_size}-{now.st_mtime_ns}"
    return str(getattr(image, "stamp", ""))
