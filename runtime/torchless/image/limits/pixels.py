"""The limit on pixels, and the limits that follow from it."""

from torchless.errors import ImageTooLargeError

# So often may the largest image that is allowed be gone through: progressive JPEGs take about ten scans.
_PASSES = 20
# And so many pixels in all, however small the limit is: a thumbnail may have many scans too.
_FREE_PIXELS = 100_000_000
# Pillow takes a microsecond for a pixel that it decodes in Python, fifty times as long as otherwise.
_PYTHON_PART, _SMALL = 20, 250_000
# Tiles overlap the image's edge, and its last rows are as long as a whole strip.
_OVERLAP, _FREE_OVERLAP = 2, 4_000_000
_BYTES_A_PIXEL, _FREE_BYTES = 8, 32_000_000
_RAISE = "raise it with --max-megapixels (max_pixels in Python) if you trust the image"


def check_pixels(width: int, height: int, max_pixels: int, subject: str) -> None:
    """Raises ImageTooLargeError if width × height exceeds the limit. `subject` begins the message: "the image has"."""
    if width * height > max_pixels:
        raise ImageTooLargeError(
            f"{subject} {width}×{height} = {width * height / 1e6:.0f} megapixels, the limit is {max_pixels / 1e6:g}; "
            f"{_RAISE}"
        )


def check_costly(width: int, height: int, max_pixels: int, part: int, why: str) -> None:
    """Raises ImageTooLargeError if the image has more than a `part`th of the limit, as it costs more than others do:
    `why`.
    """
    if width * height > max(max_pixels // part, _SMALL):
        raise ImageTooLargeError(
            f"the image has {width}×{height} = {width * height / 1e6:.1f} megapixels; as {why}, its limit is "
            f"{max(max_pixels / part, _SMALL) / 1e6:g}, 1/{part} of the limit for others; {_RAISE}"
        )


def check_python(width: int, height: int, max_pixels: int, what: str) -> None:
    """Raises ImageTooLargeError for a large image that Pillow decodes in Python, pixel by pixel."""
    check_costly(width, height, max_pixels, _PYTHON_PART, f"Pillow decodes {what} in Python")


def check_passes(pixels: int, passes: int, max_pixels: int, noun: str) -> None:
    """Raises ImageTooLargeError if going through `pixels` so often is more work than the limit allows."""
    if pixels * passes > max(_PASSES * max_pixels, _FREE_PIXELS):
        raise ImageTooLargeError(
            f"the image has {passes:,} {noun} of {pixels / 1e6:.2g} megapixels: decoding it would take too long; "
            f"{_RAISE}"
        )


def check_overlap(pixels: int, bytes_at_once: int, max_pixels: int) -> None:
    """Raises ImageTooLargeError where tiles or strips with all their edges have too many `pixels`, or one of them has
    too many bytes.
    """
    if pixels > _OVERLAP * max_pixels + _FREE_OVERLAP:
        raise ImageTooLargeError(
            f"the image's tiles or strips have {pixels / 1e6:.0f} megapixels in all, with what is outside of it; "
            f"the limit is {max_pixels / 1e6:g} for the image, and twice that for them; {_RAISE}"
        )
    if bytes_at_once > _BYTES_A_PIXEL * max_pixels + _FREE_BYTES:
        raise ImageTooLargeError(
            f"one tile or strip of the image takes {bytes_at_once / 1e6:.0f} MB; the limit of {max_pixels / 1e6:g} "
            f"megapixels allows {_BYTES_A_PIXEL} bytes a pixel; {_RAISE}"
        )


def refuse_parts(noun: str, limit: int) -> ImageTooLargeError:
    """The error of a file with more than `limit` of some part, which no program writes."""
    return ImageTooLargeError(f"the image's file has more than {limit:,} {noun}: it is damaged, or made to cost time")
