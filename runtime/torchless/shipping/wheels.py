"""The wheels of torchless and of all that it needs, in the versions installed here, and a folder to collect them in."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from torchless.errors import TorchlessError, UsageError, extra
from torchless.files import writing
from torchless.model.artifact import Artifact


class BundleError(TorchlessError, RuntimeError):
    """pip or pex failed."""


def collect_wheels(folder: Path, *, extras: str = "cpu", platforms: Sequence[str] = ()) -> Path:
    """Puts torchless's own wheel into `folder`, with those of everything that it needs with these extras, in the
    versions installed here. Returns the path of its own.

    `platforms` are tags of another kind of machine that they are for, such as manylinux_2_28_aarch64. Raises
    BundleError if pip fails.
    """
    folder.mkdir(parents=True)
    own = own_wheel(folder)
    pins = folder.parent / "pins.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in pinned(extras).items()), encoding="utf-8")
    given = ["--only-binary", ":all:", "--constraint", pins, "--dest", folder, "--find-links", folder]
    kinds = [option for platform in platforms for option in ("--platform", platform)]
    run_module("pip", "download", "--quiet", *given, *kinds, f"{own}[{extras}]")
    pins.unlink()
    return own


def own_wheel(folder: Path) -> Path:
    """torchless's wheel in `folder`: built from its checkout if it is installed from one, otherwise reassembled from
    the installed files.
    """
    installed = distribution("torchless")
    checkout = _checkout(installed)
    if checkout is None:
        return _repack(installed, folder)
    run_module("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, checkout)
    (path,) = folder.glob("torchless-*.whl")
    return path


def _checkout(installed: Distribution) -> Path | None:
    """The folder of an editable installation (PEP 610)."""
    origin = json.loads(installed.read_text("direct_url.json") or "{}")
    if not origin.get("dir_info", {}).get("editable"):
        return None
    return Path(unquote(urlsplit(origin["url"]).path))


def _repack(installed: Distribution, folder: Path) -> Path:
    """A wheel from the files that were installed from one: pip leaves them unchanged, and adds its notes, scripts and
    bytecode.
    """
    info = f"torchless-{installed.version}.dist-info/"
    added = {info + name for name in ("INSTALLER", "REQUESTED", "RECORD", "direct_url.json")}
    kept = [
        file
        for file in installed.files or ()
        if ".." not in file.parts and file.suffix != ".pyc" and str(file) not in added
    ]
    path, record = folder / f"torchless-{installed.version}-py3-none-any.whl", []
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for file in kept:
            content = Path(str(file.locate())).read_bytes()
            digest = urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            record.append(f"{file},sha256={digest},{len(content)}\n")
            wheel.writestr(str(file), content)
        wheel.writestr(f"{info}RECORD", "".join([*record, f"{info}RECORD,,\n"]))
    return path


def pinned(extras: str) -> dict[str, str]:
    """Name → version of every installed distribution that torchless needs with these extras, directly or not."""
    with extra("bundle", "a bundle"):
        from packaging.requirements import Requirement
    found: dict[str, str] = {}
    waiting = [Requirement(f"torchless[{extras}]")]
    while waiting:
        wanted = waiting.pop()
        for needed in map(Requirement, distribution(wanted.name).requires or ()):
            applies = needed.marker is None or any(
                needed.marker.evaluate({"extra": name}) for name in ("", *wanted.extras)
            )
            if not applies or needed.name in found:
                continue
            with suppress(PackageNotFoundError):
                found[needed.name] = distribution(needed.name).version
                waiting.append(needed)
    return found


def copy_model(artifact: Artifact, folder: Path) -> None:
    for file in artifact.files:
        shutil.copyfile(file, folder / file.name)


@contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `folder` at the end, or is removed if the block fails. Raises UsageError unless
    there is nothing there yet, or an empty folder.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(
            f"cannot write {folder}: it already exists and is not an empty folder; name another, or delete it"
        )
    with workshop(folder) as place:
        (made := place / "made").mkdir()
        yield made
        if folder.exists():
            folder.rmdir()
        os.replace(made, folder)


@contextmanager
def workshop(output: Path) -> Iterator[Path]:
    """A folder beside `output`, removed at the end."""
    if not output.parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}")
    with (
        writing(output),
        tempfile.TemporaryDirectory(
            dir=output.parent, prefix=".", suffix=f".part.{output.name}", ignore_cleanup_errors=True
        ) as folder,
    ):
        yield Path(folder)


def run_module(module: str, *arguments: object) -> None:
    """Without standard input: pip would wait there for a password, with a question that nobody sees."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise BundleError(f"{module} failed: {' / '.join(said[-3:]) or f'exit code {done.returncode}'}")
