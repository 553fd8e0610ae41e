"""docs/images.md: every way to store a photo, as torchvision's loader and as torchless read it."""

from itertools import groupby

from rendering import Row
from rendering.markdown import table

_NAMES = {"WEBP": "WebP", "JPEG2000": "JPEG 2000"}


def formats(figures: Row) -> str:
    """Rows that differ in their mode alone share a line; what decoding with loss takes away is the same for both."""
    heading = ("format", "modes", "bits", "option", "torchvision off by", "torchless off by", "apart", "warning")
    rows = []
    for _, group in groupby(figures["rows"], key=_alike):
        first, *others = group
        modes = ", ".join(row["mode"] for row in (first, *others))
        option = f"`{first['flag']}`" if first["flag"] else ""
        name = _NAMES.get(first["format"], first["format"])
        off = (_steps(max(row[side] for row in (first, *others))) for side in ("torchvision", "torchless"))
        rows.append((name, modes, first["bits"], option, *off, first["apart"], "yes" if first["warned"] else ""))
    return f"{table(heading, rows)}\n\nMade on {figures['date']} with Pillow {figures['pillow']}."


def icc(figures: Row) -> str:
    """The effect of a profile that is ignored."""
    moved = figures["icc"]
    return (
        f"The values of a photo in Adobe RGB are off by {moved['mean']:.1f} steps of 255 on average, and by "
        f"{moved['largest']} at most, where its profile is ignored."
    )


def _alike(row: Row) -> tuple[object, ...]:
    lossy = max(row["torchvision"], row["torchless"]) > 0 and row["apart"] == 0 and not row["warned"]
    figures = "lossy" if lossy else (row["torchvision"], row["torchless"], row["apart"])
    return row["format"], row["bits"], row["flag"], row["warned"], figures


def _steps(value: float) -> str:
    return f"{value:.1f}" if value else "0"
