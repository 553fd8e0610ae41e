"""Images as text: base64 as clients write it, and data URLs."""

import binascii
import re

from torchless.errors import ImageDecodeError

_SLICE = 1 << 18  # characters: base64 is decoded with Python's lock held, this much in less than a millisecond
_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_SPACE = b" \t\r\n"
_LONGEST_HEADER = 200
_LONGEST_NAME = 255
_FILE_NAME = re.compile(r"(?!data:)[^\n]+\.[a-z0-9]{2,5}", re.IGNORECASE)


def decode_text(text: str | memoryview) -> bytes | ImageDecodeError:
    """The bytes of an image as base64 text or a data URL, both as text or as its bytes; or the error, if it is neither.

    Line breaks, the alphabet that URLs use, and missing padding are understood (RFC 4648, sections 3.2, 3.3 and 5).
    """
    try:
        head = text[:_LONGEST_HEADER]
        return _decode(text, _beginning(head if isinstance(head, str) else bytes(head).decode("latin-1")))
    except ImageDecodeError as error:
        return error
    except (ValueError, binascii.Error):  # UnicodeEncodeError is a ValueError
        if len(text) <= _LONGEST_NAME and isinstance(text, str) and _FILE_NAME.fullmatch(text):
            return ImageDecodeError(
                "the text is not base64, but looks like a file name: send the file's content, as base64"
            )
        return ImageDecodeError("the text is not base64, or was cut off")


def _beginning(head: str) -> int:
    """Where the base64 begins."""
    if head[:5].lower() == "data:":
        comma = head.find(",")
        if comma < 0 or not head[:comma].rstrip().lower().endswith(";base64"):
            raise ImageDecodeError("the data URL is not base64: it should begin as data:image/jpeg;base64,")
        return comma + 1
    if "://" in head:
        raise ImageDecodeError("the text is a URL, and the server fetches nothing: send the image itself, as base64")
    if not head:
        raise ImageDecodeError("the text is empty")
    return 0


def _decode(text: str | memoryview, beginning: int) -> bytes:
    decoded, rest = [], b""
    for start in range(beginning, len(text), _SLICE):
        piece = text[start : start + _SLICE]
        rest += (piece.encode("ascii") if isinstance(piece, str) else bytes(piece)).translate(_URL_SAFE, _SPACE)
        unpadded = rest.rstrip(b"=")
        if b"=" in unpadded:
            raise ValueError("padding before the end")
        whole, padding = len(unpadded) // 4 * 4, b"=" if len(unpadded) < len(rest) else b""
        decoded.append(binascii.a2b_base64(unpadded[:whole], strict_mode=True))
        rest = unpadded[whole:] + padding
    end = rest.rstrip(b"=")
    decoded.append(binascii.a2b_base64(end + b"=" * (-len(end) % 4), strict_mode=True))
    return b"".join(decoded)
