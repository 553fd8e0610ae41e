"""Fetching a model by name: what is new about it, its files, and that they are what they should be."""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import field
from datetime import date
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from torchless.errors import ArtifactDamagedError, ArtifactError, ArtifactNotFoundError, UsageError
from torchless.files import reading, writing
from torchless.hub.cache import Fetched, Shelf
from torchless.hub.names import Name, Repository, file_name, parse_name
from torchless.hub.streams import Stream, UnreachableError, endpoint, opened
from torchless.model.artifact import manifest_of, read_artifact, sha256_of
from torchless.model.external import check_locations
from torchless.model.onnxfile import read_onnx
from torchless.model.seal import Seal, check_seal
from torchless.model.signing import SUFFIX as SIGNATURE
from torchless.process import tell
from torchless.progress import bytes_bar
from torchless.records import dataclass

OFFLINE = "TORCHLESS_OFFLINE"

_CHUNK_BYTES = 1 << 20
_MOST_UNSAID = 2 << 30  # bytes of a file whose length its server does not say; no ONNX file is larger
_ATTEMPTS = 3
_MOST_LISTED_BYTES = 16 << 20


def fetch_model(name: str, *, offline: bool | None = None) -> Path:
    """The file of a model that lies elsewhere: `https://…/NAME.onnx`, `hf:OWNER/REPO[@REVISION][/FILE]`, or a URL that
    fsspec opens; with `#sha256=…` only the file with that hash.

    It is fetched once, with its data files and its signature, into $TORCHLESS_CACHE or the user's cache folder. Each
    later call asks the server whether it changed, unless the name has a hash. `offline` makes no request at all; None
    is for what $TORCHLESS_OFFLINE says. A broken download goes on where it ended. Nothing is used before its length,
    its hash (if one is known) and its seal are right. Raises ArtifactError for what cannot be had or is not right,
    UsageError for a name that makes no sense or a cache that cannot be written.
    """
    wanted = parse_name(name)
    shelf = Shelf(str(wanted))
    if offline if offline is not None else os.environ.get(OFFLINE, "") not in ("", "0"):
        return _cached(shelf, wanted)
    with shelf.taken():
        current = shelf.current
        if current is not None and current.sha256 == wanted.sha256:
            return shelf.path(current)
        try:
            return _newest(shelf, wanted, current)
        except UnreachableError as error:
            if current is None or wanted.sha256 is not None:
                raise
            tell(f"warning: {error}; what was fetched on {current.when} is used")
            return shelf.path(current)


def _cached(shelf: Shelf, wanted: Name) -> Path:
    current = shelf.current
    if current is None:
        raise ArtifactNotFoundError(f"{wanted} was never fetched, and `offline` forbids to do it now")
    _check_hash(str(wanted), current.sha256, wanted.sha256)
    return shelf.path(current)


@dataclass(frozen=True)
class _Version:
    """A model as its server has it now. `hashes` has what the server says of its files, by their names; None for a
    server that does not list them.
    """

    url: str
    tag: str
    hashes: Mapping[str, str | None] | None = field(default=None)

    def beside(self, name: str) -> str:
        """The URL of another file in the same folder."""
        scheme, host, path, query, _ = urlsplit(self.url)
        return urlunsplit((scheme, host, f"{path.rpartition('/')[0]}/{quote(name)}", query, ""))


def _newest(shelf: Shelf, wanted: Name, current: Fetched | None) -> Path:
    version = _listed(wanted.place) if isinstance(wanted.place, Repository) else _asked(wanted.place)
    if current is not None and wanted.sha256 is None and version.tag in (current.tag, ""):
        if not version.tag:
            tell(f"warning: the server of {wanted} never says what changed; what was fetched on {current.when} is used")
        return shelf.path(current)
    if current is not None:
        changed = f"has changed since {current.when}" if wanted.sha256 is None else "was fetched with another SHA-256"
        tell(f"{wanted} {changed}: fetching it again")
    name = file_name(version.url)
    part = shelf.part(version.tag or os.urandom(8).hex())
    try:
        _fetch(version.url, part / name)
        sha256 = sha256_of(part / name)
        _check_hash(version.url, sha256, wanted.sha256, (version.hashes or {}).get(name))
        _fetch_others(version, part / name)
        _check(part / name)
    except UnreachableError:
        raise  # what came is kept
    except ArtifactError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise type(error)(str(error).replace(str(part / name), version.url)) from None
    path = shelf.keep(part, tag=version.tag, file=name, sha256=sha256, when=date.today().isoformat())
    tell(f"{wanted} → {path}")
    return path


def _asked(url: str) -> _Version:
    with opened(url) as stream:
        return _Version(url, stream.tag)


def _listed(place: Repository) -> _Version:
    """Asks Hugging Face's hub for the commit of a revision, and for the files in it."""
    url = f"{endpoint()}/api/models/{place.repo}/revision/{quote(place.revision, safe='')}?blobs=true"
    with opened(url) as stream:
        answer = stream.read(_MOST_LISTED_BYTES)
    try:
        said = json.loads(answer)
        commit = str(said["sha"])
        files = {str(each["rfilename"]): (each.get("lfs") or {}).get("sha256") for each in said["siblings"]}
    except (ValueError, TypeError, KeyError, AttributeError):
        raise UnreachableError(f"{url} does not answer as Hugging Face's hub does") from None
    models = [name for name in files if name.endswith(".onnx")]
    if place.file is None and len(models) != 1:
        several = f"name one of its models: {', '.join(f'hf:{place.repo}/{model}' for model in models[:5])}"
        raise UsageError(f"hf:{place.repo} has {several if models else 'no .onnx file'}")
    file = place.file or models[0]
    if file not in files:
        raise ArtifactNotFoundError(
            f"hf:{place.repo} has no file {file}; its models: {', '.join(models[:5]) or 'none'}"
        )
    folder = file.rpartition("/")[0]
    beside = {name.removeprefix(f"{folder}/" if folder else ""): hash_ for name, hash_ in files.items()}
    return _Version(f"{endpoint()}/{place.repo}/resolve/{commit}/{quote(file)}", commit, beside)


def _fetch(url: str, path: Path, *, shown: bool = True) -> None:
    """Fetches one file to `path`, from where an earlier attempt ended. A server may break off twice."""
    part, tag = path.with_name(f"{path.name}.part"), path.with_name(f"{path.name}.tag")
    for attempt in range(_ATTEMPTS if not path.exists() else 0):
        begun = part.stat().st_size if part.exists() and tag.exists() else 0
        try:
            with opened(url, start=begun, tag=tag.read_text("utf-8") if begun else "") as stream:
                if shown and not attempt:
                    size = f" ({stream.total / 1e6:.1f} MB)" if stream.total is not None else ""
                    tell(f"fetching {url}{size}{f', from {stream.start / 1e6:.1f} MB on' if stream.start else ''}")
                with writing(path):
                    tag.write_text(stream.tag, "utf-8")
                    _write(url, stream, part)
                    os.replace(part, path)
                    tag.unlink()
            return
        except UnreachableError:
            if attempt == _ATTEMPTS - 1 or not (part.exists() and part.stat().st_size > begun):
                raise


def _write(url: str, stream: Stream, path: Path) -> None:
    most = stream.total if stream.total is not None else _MOST_UNSAID
    done = stream.start
    with path.open("r+b" if stream.start else "wb") as file, bytes_bar(stream.total, done) as advance:
        file.seek(stream.start)
        file.truncate()
        while chunk := stream.read(_CHUNK_BYTES):
            done += len(chunk)
            if done > most:
                raise ArtifactDamagedError(f"{url} gives more than the {most} bytes that it may have")
            file.write(chunk)
            advance(len(chunk))
    if stream.total is not None and done < stream.total:
        raise UnreachableError(
            f"{url} broke off after {done} of {stream.total} bytes; what came is kept, and the same command goes on "
            "from there"
        )


def _fetch_others(version: _Version, model: Path) -> None:
    """The data files that hold the model's weights, and its signature if there is one."""
    file = read_onnx(model)
    check_locations(file)
    for name in file.data_files:
        if Path(name).name != name:
            raise ArtifactDamagedError(f"{version.url} keeps its weights in {name!r}, not beside it")
        _fetch(version.beside(name), model.with_name(name))
        _check_hash(version.beside(name), sha256_of(model.with_name(name)), (version.hashes or {}).get(name))
    signature = f"{model.name}{SIGNATURE}"
    if version.hashes is None or signature in version.hashes:
        try:
            _fetch(version.beside(signature), model.with_name(signature), shown=False)
        except UnreachableError:
            raise
        except ArtifactNotFoundError:
            pass  # most models have none


def _check(model: Path) -> None:
    """Raises ArtifactError for what is no ONNX model, was changed after it was sealed, or has other data files."""
    file = read_onnx(model)
    if manifest_of(file) is not None:
        read_artifact(file)
    with reading(model, ArtifactNotFoundError):
        if check_seal(file) is Seal.CHANGED:
            raise ArtifactDamagedError(f"{model} was changed after it was sealed; it is not used")


def _check_hash(what: str, found: str, *wanted: str | None) -> None:
    for sha256 in wanted:
        if sha256 is not None and sha256 != found:
            raise ArtifactDamagedError(f"{what} is another file than wanted: its SHA-256 is {found}, not {sha256}")
