"""The images in a multipart form, as browsers, curl and HTTP libraries send them (RFC 7578)."""

import codecs
from dataclasses import field
from functools import partial
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from torchless.errors import ImageError
from torchless.records import dataclass
from torchless.serve.errors import RequestError
from torchless.serve.images_as_text import decode_text

_MOST_OTHERS = 16
_MOST_HEADER_BYTES = 8192
_FED = 1 << 20  # so that other threads have their turn
_HEAD = 512
_BINARY = bytes(range(9)) + bytes(range(14, 32))  # what texts do not contain
_IN_THE_QUERY = ("top_k", "model")


@dataclass
class _Part:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    pieces: list[bytes] = field(default_factory=list)
    name: str = ""
    filename: str | None = None

    def read_headers(self) -> None:
        disposition, options = parse_options_header(self.headers.get(b"content-disposition"))
        if disposition != b"form-data" or b"name" not in options:
            raise RequestError('the multipart body has a part without Content-Disposition: form-data; name="…"')
        self.name = _decoded(options[b"name"])
        self.filename = _decoded(options[b"filename"]) if b"filename" in options else None

    def is_text(self, content: bytes) -> bool:
        """A part with a filename is a file. Of one without, as some libraries send images, its content tells."""
        if self.filename is not None or self.headers.get(b"content-type", b"text/").lower()[:6] == b"image/":
            return False
        head = content[:_HEAD]
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            return False
        return len(head.translate(None, _BINARY)) == len(head)


class _Form:
    """Collects the parts while the body is parsed, and ends the parsing at what is too much."""

    def __init__(self, max_images: int) -> None:
        self.images: list[tuple[str | None, bytes | ImageError]] = []
        self.texts: list[str] = []
        self.ended = False
        self._empty = 0
        self._max_images = max_images
        self._part, self._header, self._header_bytes = _Part(), [b"", b""], 0

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_header_field": partial(self._header_piece, 0),
            "on_header_value": partial(self._header_piece, 1),
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers_end,
            "on_part_data": self._data,
            "on_part_end": self._end,
            "on_end": self._all_ended,
        }

    def _begin(self) -> None:
        self._part, self._header_bytes = _Part(), 0
        if len(self.images) >= self._max_images:
            raise RequestError(f"the form has more than {self._max_images} images, the most at once (--max-queue)")
        if len(self.texts) + self._empty >= _MOST_OTHERS:
            raise RequestError(f"the form has more than {_MOST_OTHERS} fields that are no images")

    def _header_piece(self, which: int, data: bytes, start: int, end: int) -> None:
        self._header_bytes += end - start
        if self._header_bytes > _MOST_HEADER_BYTES:
            raise RequestError(f"the multipart body has a part with more than {_MOST_HEADER_BYTES} bytes of headers")
        self._header[which] += data[start:end]

    def _header_end(self) -> None:
        self._part.headers[self._header[0].lower()] = self._header[1]
        self._header = [b"", b""]

    def _headers_end(self) -> None:
        self._part.read_headers()

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._part.pieces.append(data[start:end])

    def _end(self) -> None:
        part, content = self._part, b"".join(self._part.pieces)
        if part.filename == "" and not content:
            self._empty += 1  # a browser's form in which no file was chosen
        elif not part.is_text(content):
            self.images.append((part.filename or part.name or None, content))
        elif content[:5].lower() == b"data:":
            self.images.append((part.name or None, decode_text(content.decode("utf-8", "replace"))))
        elif part.name in _IN_THE_QUERY:
            raise RequestError(f"{part.name} belongs in the query, not in the form: /classify?{part.name}=…")
        else:
            self.texts.append(part.name)

    def _all_ended(self) -> None:
        self.ended = True


def parse_form(content_type: str, body: bytes, max_images: int) -> list[tuple[str | None, bytes | ImageError]]:
    """The name and the content of each image, in order; names are those of the files, or of the fields if there is
    none. Raises RequestError if the form is malformed, holds no image or more than `max_images`.
    """
    boundary = parse_options_header(content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError(
            "the multipart body has no boundary in its Content-Type: do not set that header yourself, the client does"
        )
    form = _Form(max_images)
    try:
        parser = MultipartParser(boundary, form.callbacks())
        for start in range(0, len(body), _FED):
            parser.write(body[start : start + _FED])
    except FormParserError as error:
        raise RequestError(f"the multipart body is malformed: {error}") from None
    if not form.ended:
        raise RequestError("the multipart body ends too early: the boundary at its end is missing")
    if not form.images:
        field = f"; its field {form.texts[0][:40]!r} is text" if form.texts else ""
        raise RequestError(f"the multipart body holds no image{field}; send each as a file: curl -F image=@cat.jpg")
    return form.images


def _decoded(text: bytes) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1")
