"""A file of another machine as a stream that can begin where an earlier attempt ended.

The web is read with Python's own client, so that the smallest installation can do it; everything else with fsspec.
"""

import http.client
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any
from urllib.parse import urlsplit

from torchless.errors import ArtifactNotFoundError, UsageError, extra, first_line, missing_package
from torchless.records import dataclass

_SILENCE_S = 30.0
_GONE = 404, 410
_FORBIDDEN = 401, 403
_CHANGED_MEANWHILE = 416  # the offset lies behind the file's end
_SAID = "ETag", "etag", "LastModified", "updated", "mtime", "size"  # of a file, by one file system or another
_HUGGING_FACE = "https://huggingface.co"


class UnreachableError(ArtifactNotFoundError):
    """The server could not be asked, or broke off: a later attempt may succeed."""


@dataclass(frozen=True)
class Stream:
    """`content`, of `url`, begins at byte `start` of `total`, if known. `tag` changes with it; "" says nothing."""

    url: str
    content: IO[bytes]
    start: int
    total: int | None
    tag: str

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end. Raises UnreachableError."""
        try:
            return self.content.read(size)
        except TimeoutError:
            raise _silent(self.url) from None
        except Exception as error:  # those of file systems have no common base class, and the web has several
            raise UnreachableError(f"cannot read {self.url}: {first_line(error)}") from None


@contextmanager
def opened(url: str, *, start: int = 0, tag: str = "") -> Iterator[Stream]:
    """A stream of what the URL names: from `start` if it is still what `tag` was, else from 0.

    Raises ArtifactNotFoundError if it is not there, UnreachableError if its server cannot be asked or goes silent,
    MissingDependencyError for a protocol whose package is missing, UsageError for a URL that makes no sense.
    """
    if urlsplit(url).scheme.lower() in ("http", "https"):
        with _answer(url, start, tag) as answer:
            yield _web_stream(url, answer, start)
        return
    with extra("remote", url):
        import fsspec
    try:
        fs, path = fsspec.core.url_to_fs(url)
        info = fs.info(path)
        content = fs.open(path, "rb")
    except FileNotFoundError:
        raise ArtifactNotFoundError(f"there is no {url}") from None
    except ImportError as error:
        raise missing_package(url, urlsplit(url).scheme, error) from None
    except Exception as error:  # the errors of file systems have no common base class
        raise UnreachableError(f"cannot read {url}: {first_line(error)}") from None
    now = "-".join(str(info[key]) for key in _SAID if info.get(key) is not None)
    with content:
        start = start if tag == now else 0
        content.seek(start)
        yield Stream(url, content, start, info.get("size"), now)


def endpoint() -> str:
    """Where Hugging Face's hub, or a mirror of it ($HF_ENDPOINT), is."""
    return os.environ.get("HF_ENDPOINT", _HUGGING_FACE).rstrip("/")


def _answer(url: str, start: int, tag: str) -> Any:
    request = urllib.request.Request(url, headers={"Accept-Encoding": "identity", "User-Agent": "torchless"})  # noqa: S310 - http or https
    if start and tag and not tag.startswith("W/"):  # a weak one does not promise the same bytes
        request.add_header("Range", f"bytes={start}-")
        request.add_header("If-Range", tag)
    token = os.environ.get("HF_TOKEN")
    if token and urlsplit(url)[:2] == urlsplit(endpoint())[:2]:
        request.add_unredirected_header("Authorization", f"Bearer {token}")  # not for the stores that it leads to
    try:
        return urllib.request.build_opener(_NeverLessSafe).open(request, timeout=_SILENCE_S)
    except http.client.InvalidURL as error:
        raise UsageError(f"{url} is not a URL: {error}") from None
    except TimeoutError:
        raise _silent(url) from None
    except urllib.error.HTTPError as error:
        error.close()
        if error.code == _CHANGED_MEANWHILE and start:
            return _answer(url, 0, "")
        if error.code in _GONE:
            raise ArtifactNotFoundError(f"there is no {url} ({error.code} {error.reason})") from None
        if error.code in _FORBIDDEN:
            raise ArtifactNotFoundError(
                f"{url} is not for everyone ({error.code} {error.reason}); if it is on Hugging Face, set HF_TOKEN, "
                "else fetch it yourself and name the file"
            ) from None
        raise UnreachableError(f"cannot read {url}: {error.code} {error.reason}") from None
    except (http.client.HTTPException, OSError) as error:
        cause = getattr(error, "reason", None) or error
        raise UnreachableError(f"cannot read {url}: {getattr(cause, 'strerror', None) or first_line(cause)}") from None


def _silent(url: str) -> UnreachableError:
    return UnreachableError(f"{url}: nothing came for {_SILENCE_S:g} s")


def _web_stream(url: str, answer: Any, start: int) -> Stream:
    if (encoding := answer.headers.get("Content-Encoding", "identity").lower()) != "identity":
        raise UnreachableError(f"{url}: its server packs the file with {encoding}, which it was not asked for")
    is_rest = answer.status == http.client.PARTIAL_CONTENT and _begins_at(answer.headers.get("Content-Range")) == start
    length, begin = answer.headers.get("Content-Length"), start if is_rest else 0
    if answer.status == http.client.PARTIAL_CONTENT and not is_rest:
        raise UnreachableError(f"{url}: its server sent another part of the file than it was asked for")
    total = begin + int(length) if length is not None and length.isdigit() else None
    return Stream(url, answer, begin, total, answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")


def _begins_at(content_range: str | None) -> int | None:
    unit, _, rest = (content_range or "").partition(" ")
    first = rest.partition("-")[0]
    return int(first) if unit == "bytes" and first.isdigit() else None


class _NeverLessSafe(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if req.type == "https" and urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it leads from https to {newurl}, where anybody could change the file")
        return super().redirect_request(req, fp, code, msg, headers, newurl)
