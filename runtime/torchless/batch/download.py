"""Reading from fsspec's file systems with an end: of bytes, and of patience."""

import zlib
from collections.abc import Callable, Iterator
from typing import Any

from torchless.batch.archives import reason
from torchless.batch.limits import Limits
from torchless.image.content import check_bytes, content_of

_CHUNK = 1 << 20
_EITHER_HEADER = 32  # for zlib: gzip's or its own


def file_system(fsspec: Any, url: str, limits: Limits) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    fs, path = fsspec.core.url_to_fs(url, **dict(_patience(url, limits)))
    return fs, path


def open_file(fsspec: Any, url: str, limits: Limits) -> Any:
    """An open file that reads as much as is asked for."""
    return fsspec.open(url, "rb", **dict(_patience(url, limits))).open()


def download(fs: Any, file: str, limits: Limits) -> bytes:
    """The bytes of a file. Raises ImageTooLargeError above `max_bytes`, TimeoutError after `timeout_s` of silence, and
    what the file system raises.
    """
    from fsspec.asyn import AsyncFileSystem, sync

    protocols = {fs.protocol} if isinstance(fs.protocol, str) else set(fs.protocol)
    most = limits.max_bytes + 1
    if "file" in protocols:
        return content_of(file, limits.max_bytes)
    data: bytes
    if "http" in protocols:
        data = sync(fs.loop, _get, fs, file, limits.max_bytes, timeout=limits.whole_timeout_s)
    elif isinstance(fs, AsyncFileSystem) and not fs.asynchronous:
        data = sync(fs.loop, fs._cat_file, file, end=most, timeout=limits.whole_timeout_s)
    else:
        data = fs.cat_file(file, end=most)
    check_bytes(len(data), limits.max_bytes)
    return data


def why(error: Exception, limits: Limits) -> str:
    """Why something could not be read, for the end of a message."""
    if isinstance(error, TimeoutError) or isinstance(error.__cause__, TimeoutError):  # fsspec says "not found"
        return f"nothing came for {limits.timeout_s:g} s, or not all in {limits.whole_timeout_s:g} s; see --timeout"
    return reason(error)


async def _get(fs: Any, url: str, max_bytes: int) -> bytes:
    """What fsspec's HTTP file system gives, without reading on beyond the limit."""
    session = await fs.set_session()
    content = bytearray()
    headers = {"Accept-Encoding": "identity", **fs.kwargs.get("headers", {})}
    async with session.get(fs.encode_url(url), **{**fs.kwargs, "headers": headers}) as response:
        if response.status == 404:
            raise FileNotFoundError(url)
        response.raise_for_status()
        unpack = _unpacker(response.headers.get("Content-Encoding", "identity").strip().lower())
        async for chunk in response.content.iter_chunked(_CHUNK):
            content += unpack(chunk, max_bytes + 1 - len(content))
            check_bytes(len(content), max_bytes)
    return bytes(content)


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """What makes at most so many bytes of the next piece of a body. Some servers compress without being asked."""
    if encoding in ("", "identity"):
        return lambda chunk, _: chunk
    if encoding in ("gzip", "x-gzip", "deflate"):
        return zlib.decompressobj(wbits=zlib.MAX_WBITS | _EITHER_HEADER).decompress
    raise ValueError(f"the server sends {encoding}, which it was not asked for")


def _patience(url: str, limits: Limits) -> Iterator[tuple[str, dict[str, Any]]]:
    """The settings of each file system that a URL leads through."""
    for part in url.split("::"):
        protocol = part.partition("://")[0].lower()
        if protocol in ("http", "https"):
            yield protocol, {"client_kwargs": {"timeout": _client_timeout(limits), "auto_decompress": False}}
        elif protocol in ("s3", "s3a"):
            seconds = {"connect_timeout": limits.timeout_s, "read_timeout": limits.timeout_s}
            yield protocol, {"config_kwargs": {**_own_settings(protocol), **seconds, "retries": {"max_attempts": 2}}}
        elif protocol in ("gs", "gcs"):
            yield protocol, {"requests_timeout": limits.whole_timeout_s}


def _client_timeout(limits: Limits) -> Any:
    import aiohttp

    return aiohttp.ClientTimeout(
        total=limits.whole_timeout_s, sock_connect=limits.timeout_s, sock_read=limits.timeout_s
    )


def _own_settings(protocol: str) -> dict[str, Any]:
    """What the user has set for fsspec."""
    from fsspec.config import conf

    settings: dict[str, Any] = conf.get(protocol, {}).get("config_kwargs", {})
    return settings
