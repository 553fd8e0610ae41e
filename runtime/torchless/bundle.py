"""A model to take along: one executable file (pex), or a folder of wheels with the model, for machines without a
network or registries.

Both contain torchless itself, its base dependencies and one ONNX Runtime, in the versions installed here, and are for
machines of this kind: the same system, processor and minor version of Python.
"""

import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import warnings
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from torchless.errors import TorchlessError, UsageError, extra
from torchless.files import writing
from torchless.model.artifact import Artifact, read_artifact

_EXTRA = "cpu"
_MODEL_PACKAGE = "torchless_model"


def write_executable(model: Path, output: Path) -> None:
    """Writes one file that classifies images with `model`: `python3 OUTPUT IMAGE…` is `infer MODEL IMAGE…`.

    Raises ArtifactError for the model, MissingDependencyError without the extra `bundle`, UsageError if `output` cannot
    be written, and BundleError if pip or pex fails.
    """
    artifact = read_artifact(model)
    with extra("bundle", "one executable file"):
        import_module("pex")
    with _workshop(output) as folder:
        collect_wheels(folder / "wheels")
        _write_model_package(artifact, folder / "sources" / _MODEL_PACKAGE)
        # Wheels as they are, not pre-installed: it was written in 6 s, not 22, and its first run took 14 s, not 11.
        _run(
            "pex", f"torchless[{_EXTRA}]", "--pre-resolved-dists", folder / "wheels", "--sources-directory",
            folder / "sources",
            "--entry-point", "torchless.cli.bundled:main", "--python-shebang", f"/usr/bin/env "
                                                                               f"python3.{sys.version_info.minor}",
            "--no-pre-install-wheels", "--pex-root", folder / "root", "--runtime-pex-root", _RUNTIME_ROOT,
            "--output-file", folder / "bundle",
        )  # fmt: skip
        check_python_first(folder / "bundle")
        os.replace(folder / "bundle", output)


def check_python_first(archive: Path) -> None:
    """Makes an executable ZIP file say in one line that it was made for another Python, or another kind of machine."""
    with zipfile.ZipFile(archive) as file:
        main = file.read("__main__.py").decode()
    check = _CHECK.format(made_for=_this_python(), version=f"{sys.version_info.major}.{sys.version_info.minor}")
    with warnings.catch_warnings(), zipfile.ZipFile(archive, "a") as file:
        warnings.simplefilter("ignore")  # two members of one name: the last one counts
        file.writestr("__main__.py", check + main)


def _this_python() -> str:
    """Such as cpython-311-x86_64-linux-gnu: what compiled extensions were made for."""
    return str(sysconfig.get_config_var("SOABI"))


_CHECK = """\
import sys, sysconfig
if str(sysconfig.get_config_var("SOABI")) != "{made_for}":
    sys.exit("%s was made for Python {version} ({made_for}), and this is Python %d.%d (%s): run it with "
             "python{version}, or bundle the model again with this one"
             % (sys.argv[0], sys.version_info[0], sys.version_info[1], sysconfig.get_config_var("SOABI")))
"""
_RUNTIME_ROOT = "~/.cache/torchless/pex"  # where the file unpacks itself on its first run


def write_wheelhouse(model: Path, folder: Path) -> None:
    """Writes a new folder with `model`, the wheels, install.sh and a README.md. Raises what write_executable raises."""
    artifact = read_artifact(model)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"cannot write {folder}: it already exists and is not an empty folder")
    with _workshop(folder) as workshop:
        house = workshop / "house"
        own = collect_wheels(house / "wheels")
        _copy_model(artifact, house)
        for name, text in _instructions(artifact, own).items():
            (house / name).write_text(text, encoding="utf-8")
        (house / "install.sh").chmod(0o755)
        if folder.exists():
            folder.rmdir()
        os.replace(house, folder)


class BundleError(TorchlessError, RuntimeError):
    """pip or pex failed."""


def collect_wheels(folder: Path) -> Path:
    """Puts torchless's own wheel into `folder`, with those of everything it needs to run, in the versions installed
    here. Returns the path of its own.
    """
    folder.mkdir(parents=True)
    own = own_wheel(folder)
    pins = folder.parent / "pins.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in _installed_needs().items()), encoding="utf-8")
    links = ["--find-links", folder]
    _run(
        "pip",
        "download",
        "--quiet",
        "--only-binary",
        ":all:",
        "--constraint",
        pins,
        "--dest",
        folder,
        *links,
        f"{own}[{_EXTRA}]",
    )
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
    _run("pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, checkout)
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


def _installed_needs() -> dict[str, str]:
    """Name → version of every installed distribution that torchless needs to run, directly or not, including the
    requested extras.
    """
    with extra("bundle", "a bundle"):
        from packaging.requirements import Requirement
    found: dict[str, str] = {}
    waiting = [Requirement(f"torchless[{_EXTRA}]")]
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


def _write_model_package(artifact: Artifact, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"NAME = {artifact.path.name!r}\n", encoding="utf-8")
    _copy_model(artifact, folder)


def _copy_model(artifact: Artifact, folder: Path) -> None:
    for file in artifact.files:
        shutil.copyfile(file, folder / file.name)


def _instructions(artifact: Artifact, own: Path) -> dict[str, str]:
    model, python = artifact.path.name, f"3.{sys.version_info.minor}"
    version = own.name.split("-")[1]
    script = f"""#!/bin/sh
# Installs torchless {version} from the wheels beside this script into the virtual environment FOLDER,
# by default ./venv. No network.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${{1:-venv}}
"${{PYTHON:-python{python}}}" -m venv "$folder"
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --no-index --find-links "$here/wheels" \\
    'torchless[{_EXTRA}]=={version}'
printf 'now: %s %s IMAGE...\\n' "$folder/bin/infer" "$here/{model}"
"""
    readme = f"""# {artifact.manifest.model.name}, with all that it needs to run

For Python {python} on {sys.platform}, {platform.machine()}. No network is needed:

    sh install.sh                       # into ./venv, or: sh install.sh FOLDER
    venv/bin/infer {model} IMAGE...

`wheels/` can be served to other installations too: `pip install --no-index --find-links wheels 'torchless[{_EXTRA}]'`.
"""
    return {"install.sh": script, "README.md": readme}


@contextmanager
def _workshop(output: Path) -> Iterator[Path]:
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


def _run(module: str, *arguments: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module, *map(str, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = [line for line in (done.stderr or done.stdout).strip().splitlines() if line.strip()]
        raise BundleError(f"{module} failed: {' / '.join(said[-3:]) or f'exit code {done.returncode}'}")
