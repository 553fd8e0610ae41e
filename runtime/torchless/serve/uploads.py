"""What POST /classify may be sent, and the images in it: the bytes of one, a form, or JSON with base64 text."""

import secrets
from collections.abc import Sequence
from typing import Any

import orjson

from torchless.errors import ImageError
from torchless.records import dataclass
from torchless.serve.errors import RequestError
from torchless.serve.forms import parse_form
from torchless.serve.images_as_text import decode_text
from torchless.serve.reasons import not_json

PARSED_AT_ONCE = 1 << 13  # bytes; parsing a body of this size takes a few milliseconds at most
_LONG = 1 << 16  # characters
_SLICE = 1 << 20
_OTHER_VALUES = 64
_FEW = 4  # boundaries of a form


@dataclass(frozen=True)
class Upload:
    """The images of a request with their names, or the errors instead of images; whether the answer is a list; the
    media type of a body that is itself the image.
    """

    images: Sequence[tuple[str | None, bytes | ImageError]]
    several: bool
    kind: str | None = None


def media_type(content_type: str) -> str:
    """text/plain of "Text/Plain; charset=utf-8"."""
    return content_type.partition(";")[0].strip().lower()


def is_parsed(content_type: str) -> bool:
    """Whether a body of this type has to be parsed; every other one is an image."""
    kind = media_type(content_type)
    return kind == "multipart/form-data" or _is_json(kind)


def is_quick(content_type: str, body: bytes) -> bool:
    """Whether parsing it takes a few milliseconds at most: of a form its parts decide, not its size."""
    form = media_type(content_type) == "multipart/form-data"
    return len(body) <= PARSED_AT_ONCE or (form and len(body) <= _SLICE and body.count(b"\r\n--") <= _FEW)


def parse_upload(content_type: str, body: bytes, max_images: int) -> Upload:
    """The images of a body for which `is_parsed`. Raises RequestError. Takes long unless it `is_quick`: then it may be
    called in the event loop, otherwise in a thread.
    """
    if _is_json(media_type(content_type)):
        return _from_json(body, max_images)
    return Upload(parse_form(content_type, body, max_images), several=True)


def _is_json(kind: str) -> bool:
    return kind in ("application/json", "text/json") or kind.endswith("+json")


def _from_json(body: bytes, max_images: int) -> Upload:
    document, long_texts = _load(body, max_images)
    if not isinstance(document, dict):
        raise RequestError('the body is JSON, but no object: send {"image": "BASE64"} or {"images": ["BASE64", …]}')
    several = "images" in document
    if unknown := sorted(document.keys() - {"images" if several else "image"}):
        in_query = unknown[0] in ("top_k", "model")
        known = "it belongs in the query, as in /classify?top_k=3" if in_query else "images are in image or images"
        raise RequestError(f"the JSON has a field {unknown[0][:40]!r} that has no meaning here; {known}")
    texts = document["images"] if several else [document.get("image")]
    where = "images" if several else "image"
    if not isinstance(texts, list) or not texts:
        raise RequestError("images: expected a list of base64 texts")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            place = f"images[{number}]" if several else where
            raise RequestError(f"{place}: expected base64 text, got {_kind(text)}")
    checked: list[str] = texts
    return Upload([(None, decode_text(long_texts.get(text, text))) for text in checked], several)


def _load(body: bytes, max_images: int) -> tuple[Any, dict[str, memoryview]]:
    """The JSON, and the long texts that are left out of it by what is in their place.

    orjson holds Python's lock as long as it parses. So what is not a few texts is refused before, and long texts are
    cut out.
    """
    if reason := not_json(body):
        raise RequestError(reason)
    most = _OTHER_VALUES + 2 * max_images  # a comma between two images, and one in each data URL
    if len(body) > PARSED_AT_ONCE and sum(_count(body, sign) for sign in (b",", b"[", b"{")) > most:
        raise RequestError(f"the JSON has too many values: send at most {max_images} images (--max-queue)")
    skeleton, long_texts = _without_long_texts(body)
    try:
        return orjson.loads(skeleton), long_texts
    except orjson.JSONDecodeError as error:
        reason = f"the request is not valid JSON: {error}"
    try:  # a shell's "$(base64 cat.jpg)" has line breaks, which texts in JSON must not have
        return orjson.loads(b"".join(piece.translate(None, b"\r\n") for piece in _slices(skeleton))), long_texts
    except orjson.JSONDecodeError:
        raise RequestError(reason) from None


def _without_long_texts(body: bytes) -> tuple[bytes, dict[str, memoryview]]:
    """Only where no character is escaped, so that a quotation mark is the beginning or the end of a text."""
    if len(body) <= _LONG or b"\\" in body:
        return body, {}
    token, done, start = secrets.token_hex(8), 0, body.find(b'"')
    parts: list[bytes] = []
    found: dict[str, memoryview] = {}
    while 0 <= start < (end := body.find(b'"', start + 1)):
        if end - start > _LONG:
            place = f"{token}.{len(found)}"
            found[place] = memoryview(body)[start + 1 : end]
            parts += [body[done : start + 1], place.encode()]
            done = end
        start = body.find(b'"', end + 1)
    return b"".join([*parts, body[done:]]), found


def _count(body: bytes, sign: bytes) -> int:
    return sum(body.count(sign, start, start + _SLICE) for start in range(0, len(body), _SLICE))


def _slices(body: bytes) -> list[bytes]:
    return [body[start : start + _SLICE] for start in range(0, len(body), _SLICE)]


def _kind(value: Any) -> str:
    names = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number"}
    return names.get(type(value), "nothing")
