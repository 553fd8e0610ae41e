"""Compressed bodies, unpacked piece by piece: whoever reads them can stop before a small body becomes a huge one."""

import zlib
from collections.abc import Iterator

from torchless.serve.errors import MediaTypeError, RequestError

PIECE = 1 << 18  # bytes
_FED = 1 << 16  # zlib copies what it has not used yet, so it is given little at a time
_PLAIN = ("", "identity")
_GZIP, _ZLIB, _RAW_DEFLATE = 31, 15, -15  # zlib's `wbits`


def encoding_of(header: str) -> str | None:
    """What Content-Encoding says: gzip, deflate, or None for a plain body. Raises MediaTypeError (415) for others."""
    encoding = header.strip().lower()
    if encoding in _PLAIN:
        return None
    if encoding not in ("gzip", "deflate"):
        raise MediaTypeError(
            f"the body is compressed as {encoding[:40]!r}; gzip and deflate are understood, or send it as it is"
        )
    return encoding


def unpacked(body: bytes, encoding: str) -> Iterator[bytes]:
    """The content, in pieces of at most PIECE bytes. Raises RequestError if it is damaged, cut off, or followed by
    more.
    """
    unpacker = zlib.decompressobj(_GZIP if encoding == "gzip" else _deflate(body))
    try:
        for start in range(0, len(body), _FED):
            if unpacker.eof:
                break
            yield from _pieces(unpacker, body[start : start + _FED])
    except zlib.error as error:
        raise RequestError(f"the body is not {encoding}, or is damaged: {error}") from None
    if not unpacker.eof:
        raise RequestError(f"the {encoding} body ends too early")
    if unpacker.unused_data or start + _FED < len(body):
        raise RequestError(f"bytes follow the end of the {encoding} body")


def _pieces(unpacker: "zlib._Decompress", fed: bytes) -> Iterator[bytes]:
    while True:
        if piece := unpacker.decompress(fed, PIECE):
            yield piece
        fed = unpacker.unconsumed_tail
        if unpacker.eof or not (fed or len(piece) == PIECE):
            return


def _deflate(body: bytes) -> int:
    """HTTP's deflate is zlib's format (RFC 9110, 8.4.1.2); some clients leave its two bytes of header out."""
    zlib_header = len(body) > 1 and body[0] & 15 == 8 and int.from_bytes(body[:2]) % 31 == 0
    return _ZLIB if zlib_header else _RAW_DEFLATE
