"""Real images in all formats that torchless reads, and changes to them that know how the formats are built."""

import io
from functools import cache
from random import Random
from typing import Any

import skimage
from PIL import Image
from tests.fuzz.image_headers import changed_header
from tests.fuzz.mutate import mutated


@cache
def seeds() -> dict[str, tuple[bytes, ...]]:
    """Small images of every format, in the modes and with the compressions that it has."""
    with Image.open(f"{skimage.data_dir}/coffee.png") as opened:
        photo = opened.convert("RGB").resize((60, 45))
    deep = photo.convert("L").convert("I").point(lambda value: value * 257)
    exif = Image.Exif()
    exif[0x0112] = 6
    more: dict[str, Any] = {"save_all": True, "append_images": [photo.rotate(90), photo.rotate(180)]}
    j2k, jp2 = ({"no_jp2": True, "irreversible": True, "num_resolutions": 3}, {"tile_size": (32, 32)})
    return {
        "JPEG": (
            _encoded(photo, "JPEG"),
            _encoded(photo, "JPEG", progressive=True, exif=exif),
            _encoded(photo.convert("L"), "JPEG", quality=30),
            _encoded(photo.convert("CMYK"), "JPEG", restart_marker_blocks=2),
        ),
        "PNG": (
            *(_encoded(photo.convert(mode), "PNG") for mode in ("RGB", "1", "LA", "RGBA")),
            _encoded(photo.convert("P"), "PNG", transparency=3),
            _encoded(deep.convert("I;16"), "PNG"),
            _encoded(photo, "PNG", **more),
        ),
        "WEBP": (
            _encoded(photo, "WEBP"),
            _encoded(photo.convert("RGBA"), "WEBP", lossless=True, exif=exif),
            _encoded(photo, "WEBP", **more),
        ),
        "GIF": (_encoded(photo, "GIF"), _encoded(photo, "GIF", interlace=1), _encoded(photo, "GIF", **more)),
        "TIFF": (
            *(
                _encoded(photo, "TIFF", compression=name)
                for name in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")
            ),
            _encoded(photo.convert("1"), "TIFF", compression="group4"),
            *(
                _encoded(image, "TIFF")
                for image in (deep.convert("I;16"), deep, photo.convert("F"), photo.convert("CMYK"))
            ),
            _encoded(photo, "TIFF", **more),
        ),
        "BMP": tuple(_encoded(photo.convert(mode), "BMP") for mode in ("RGB", "1", "P", "RGBA")),
        "DIB": (_encoded(photo, "DIB"), _encoded(photo.convert("L"), "DIB")),
        "MPO": (_encoded(photo, "MPO", **more),),
        "AVIF": (
            *(_encoded(photo.convert(mode), "AVIF", exif=exif) for mode in ("RGB", "RGBA", "L")),
            _encoded(photo, "AVIF", **more),
        ),
        "PPM": (
            *(_encoded(photo.convert(mode), "PPM") for mode in ("RGB", "L", "1")),
            _encoded(deep, "PPM"),
            _encoded(photo.convert("F"), "PPM"),
            b"P3 3 2 200\n# a comment\n" + b"1 20 200 " * 6,
            b"P1\n4 2\n0101 1010\n",
            b"P5 4 2 1000\n" + bytes(range(16)),
        ),
        "JPEG2000": (
            _encoded(photo, "JPEG2000"),
            _encoded(photo.convert("RGBA"), "JPEG2000", **jp2),
            _encoded(photo.convert("L"), "JPEG2000", **j2k),
            _encoded(deep.convert("I;16"), "JPEG2000"),
        ),
        "ICO": (
            _encoded(photo.resize((32, 32)), "ICO", sizes=[(16, 16), (32, 32)]),
            _encoded(photo.resize((32, 32)).convert("RGBA"), "ICO", bitmap_format="bmp", sizes=[(32, 32)]),
            _encoded(photo.resize((32, 32)).convert("P"), "ICO", bitmap_format="bmp", sizes=[(32, 32)]),
        ),
        "TGA": (
            *(_encoded(photo.convert(mode), "TGA") for mode in ("RGB", "RGBA", "L", "P", "LA", "1")),
            _encoded(photo, "TGA", compression="tga_rle"),
        ),
        "DDS": (
            *(_encoded(photo.convert(mode), "DDS") for mode in ("RGB", "RGBA", "L", "LA")),
            *(_encoded(photo.convert("RGBA"), "DDS", pixel_format=name) for name in ("DXT1", "DXT5")),
        ),
        "QOI": (_encoded(photo, "QOI"), _encoded(photo.convert("RGBA"), "QOI")),
    }


def mutated_image(random: Random) -> bytes:
    """One of them, changed."""
    format, data = any_image(random)
    if random.random() < 0.5:
        data = changed_header(random, format, data)
    return mutated(random, data, seeds()[format], most=2) if random.random() < 0.6 else data


def any_image(random: Random) -> tuple[str, bytes]:
    """A whole one, and its format."""
    format = random.choice(list(seeds()))
    return format, random.choice(seeds()[format])


def _encoded(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()
