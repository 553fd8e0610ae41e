"""What a model can be called besides a file, and where that is. Importing it costs nothing: every start asks."""

import os
import re
from os import PathLike
from pathlib import Path

from torchless.errors import UsageError
from torchless.records import dataclass

_HUGGING_FACE = "hf:"
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_REPOSITORY = re.compile(r"(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^/@#]+))?(/(?P<file>[^@#]+))?")
_SHA256 = re.compile(r"sha256=([0-9a-f]{64})", re.IGNORECASE)


@dataclass(frozen=True)
class Repository:
    """`hf:OWNER/REPO[@REVISION][/FILE]`; `file` is None for the one .onnx file of the repository."""

    repo: str
    revision: str = "main"
    file: str | None = None


@dataclass(frozen=True)
class Name:
    """A model that lies elsewhere. `place` is a Repository or a URL, `sha256` what its file must have, if given."""

    place: Repository | str
    sha256: str | None = None

    def __str__(self) -> str:
        match self.place:
            case Repository(repo, revision, file):
                return f"{_HUGGING_FACE}{repo}{f'@{revision}' * (revision != 'main')}{f'/{file}' if file else ''}"
            case url:
                return url


def is_elsewhere(model: str | PathLike[str]) -> bool:
    """Whether it is a name of this kind, and not one of a file. A path object never is."""
    return isinstance(model, str) and (model.startswith(_HUGGING_FACE) or _URL.match(model) is not None)


def only_model_in(folder: str | PathLike[str]) -> Path | None:
    """The one model in a folder; None where there is none, or more."""
    inside = list(Path(folder).glob("*.onnx")) if os.path.isdir(folder) else []
    return inside[0] if len(inside) == 1 else None


def parse_name(model: str) -> Name:
    """Reads `https://…`, `hf:OWNER/REPO@REVISION/FILE` and what fsspec opens, each with `#sha256=…` if wanted.

    Raises UsageError for what is none of them.
    """
    place, hash_, fragment = model.partition("#")
    if hash_ and (wanted := _SHA256.fullmatch(fragment)) is None:
        raise UsageError(f"{model}: what follows # must be sha256= and 64 hexadecimal digits")
    sha256 = wanted[1].lower() if hash_ and wanted is not None else None
    if not place.startswith(_HUGGING_FACE):
        return Name(place, sha256)
    found = _REPOSITORY.fullmatch(place.removeprefix(_HUGGING_FACE))
    if found is None or ".." in place.split("/"):
        raise UsageError(
            f"{place} is no name of a repository: write hf:OWNER/REPO, hf:OWNER/REPO@REVISION or hf:OWNER/REPO/FILE"
        )
    return Name(Repository(found["repo"], found["revision"] or "main", found["file"]), sha256)


def file_name(url: str) -> str:
    """The last part of a URL's path, as a file is to be called here. Raises UsageError for one without."""
    from urllib.parse import unquote, urlsplit

    name = os.path.basename(unquote(urlsplit(url).path).replace("\\", "/"))
    if name in ("", ".", "..") or "\0" in name:
        raise UsageError(f"{url} does not name a file: end it with the name of an .onnx file")
    return name
