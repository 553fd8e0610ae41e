"""Whether Pillow reads every format that torchless accepts, and JPEG fast: local builds often lack a library."""

import io
from collections.abc import Iterator
from importlib.util import find_spec

from torchless.doctor.findings import Finding, pip
from torchless.errors import first_line

_FIX = ("install", "--force-reinstall", "--no-deps", "--only-binary", ":all:")


def pillow_findings() -> Iterator[Finding]:
    """Needs a Pillow that can be imported."""
    from PIL import __version__, features

    fix = pip(*_FIX, f"pillow=={__version__}")
    broken = _broken_formats()
    if broken:
        said = "; ".join(f"{name}: {why}" for name, why in broken.items())
        message = f"Pillow {__version__} cannot read {', '.join(broken)} ({said}); its wheels can"
        yield Finding(check="image formats", message=message, fix=fix, exit_code=1)
    else:
        yield Finding(check="image formats", message=", ".join(_known_formats()))
    if "JPEG" in broken:
        return
    if features.check_feature("libjpeg_turbo"):
        yield Finding(check="JPEG decoder", message=f"libjpeg-turbo {features.version_feature('libjpeg_turbo')}")
    else:
        message = (
            f"Pillow {__version__} was built without libjpeg-turbo, so that JPEGs take several times as "
            f"long; its wheels have it"
        )
        yield Finding(check="JPEG decoder", message=message, fix=fix, exit_code=1)
    yield Finding(check="fast decoding", message=_fast_decoding())


def _fast_decoding() -> str:
    """What `decode` "fast" uses: Pillow, which is no fault, or what the extra `fast` brings."""
    from importlib.metadata import version

    from torchless.image.fast import PACKAGES, missing_packages

    missing = missing_packages()
    found = ", ".join(f"{name} {version(name)}" for name in PACKAGES if name not in missing)
    if not missing:
        return found
    if absent := [name for name in missing if find_spec(name) is None]:
        why = f"{' and '.join(absent)} not installed: {pip('install', 'torchless[fast]')}"
    else:
        why = f"{' and '.join(missing)} cannot be used here, such as with another Pillow than 12 or 13"
    return f"{found or 'Pillow'}; --decode fast is faster with torchless[fast]; {why}"


def _broken_formats() -> dict[str, str]:
    """Each format that this Pillow should read and cannot, and why."""
    return {name: problem for name in _known_formats() if (problem := _problem(name)) is not None}


def _known_formats() -> list[str]:
    """Those for which this version of Pillow has a plugin."""
    from torchless.image.formats import PLUGINS

    return [name for name, plugin in PLUGINS.items() if find_spec(f"PIL.{plugin}") is not None]


def _problem(name: str) -> str | None:
    """What is wrong with a red image after it was written and read again. Pillow before 12.1 cannot write QOI."""
    from PIL import Image

    Image.init()
    if name == "QOI" and name not in Image.SAVE:  # others that it cannot write it cannot read either
        return None
    file = io.BytesIO()
    try:
        Image.new("RGB", (16, 16), (200, 30, 30)).save(file, name)
        with Image.open(file, formats=[name]) as image:
            pixel = image.convert("RGB").getpixel((8, 8))
    except Exception as error:  # a missing codec is a KeyError, an OSError or an ImportError
        return first_line(error)
    near = isinstance(pixel, tuple) and all(
        abs(got - sent) < 16 for got, sent in zip(pixel, (200, 30, 30), strict=True)
    )
    return None if near else f"a red image came back as {pixel}"
