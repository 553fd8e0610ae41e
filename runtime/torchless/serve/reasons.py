"""Why a body is not what belongs there, in words that help: wrong tools and headers leave traces in the bytes."""

import codecs

_HEAD = 1024
_SURELY_WITH_ALL_BYTES = 200  # a photo of this size has zeros or line breaks
_TEXT = bytes(range(32, 256)) + b"\t\n\v\f\r"


def not_json(body: bytes) -> str | None:
    """The message for a body where JSON belongs and that is something else. None if it may be JSON."""
    if not body.strip():
        return "the body is empty, where JSON belongs"
    if not is_text(body):
        return (
            "the body is not JSON but binary: send the bytes of an image to /classify with another Content-Type, such "
            "as image/jpeg, or to /infer with the header Inference-Header-Content-Length: 0"
        )
    if _is_form(body):
        return "the body is a form, not JSON: send it to /classify with Content-Type: multipart/form-data"
    return None


def no_image(kind: str, body: bytes) -> str | None:
    """The message for a body where an image belongs and that is none; `kind` is its media type. None if nothing tells
    what happened.
    """
    if not body:
        if kind.startswith("image/"):  # a program's or a browser's, which says what it sends; curl says nothing
            return "the file is empty"
        return (
            "the request has no body, or its file is empty: with curl, send a file with --data-binary @FILE, or "
            "-F image=@FILE"
        )
    if not is_text(body):
        removed = kind == "application/x-www-form-urlencoded" and not any(
            sign in body for sign in (b"\r", b"\n", b"\0")
        )
        if removed and len(body) >= _SURELY_WITH_ALL_BYTES:
            return (
                "curl -d removes line breaks and zeros from a file: send it with --data-binary @FILE, or -F image=@FILE"
            )
        return None
    start = body[:_HEAD].lstrip()
    if start.startswith((b"{", b"[")):
        return f"the body is JSON, but its Content-Type {_said(kind)}: send Content-Type: application/json"
    if start[:5].lower() == b"data:":
        return 'the body is a data URL: send it as JSON, {"image": "data:…"} with Content-Type: application/json'
    if _is_form(body):
        return f"the body is a form, but its Content-Type {_said(kind)}: let the client set that header itself"
    if start.startswith((b"/9j/", b"iVBORw0KGgo")):  # JPEG, PNG
        return 'the body is base64 text: send it as JSON, {"image": "BASE64"} with Content-Type: application/json'
    if start and kind == "application/x-www-form-urlencoded":
        return "the body is text, not an image: with curl, send a file with --data-binary @FILE, or -F image=@FILE"
    return None


def is_text(body: bytes) -> bool:
    """Whether the body begins as text, in whatever encoding."""
    head = body[:_HEAD].removeprefix(codecs.BOM_UTF8)
    return not head.translate(None, _TEXT) and head[:1] < b"\x80"


def _is_form(body: bytes) -> bool:
    return body.startswith(b"--") and b"content-disposition: form-data" in body[:_HEAD].lower()


def _said(kind: str) -> str:
    return f"says {kind[:60]}" if kind else "is missing"
