"""A folder with a model, the wheels and a script, for machines without a network or registries."""

import platform
import shlex
import sys
from pathlib import Path

from torchless.model.artifact import Artifact, read_artifact
from torchless.shipping.wheels import collect_wheels, copy_model, new_folder
from torchless.text import printable


def write_wheelhouse(model: Path, folder: Path) -> None:
    """Writes a new folder with `model`, the wheels, install.sh and a README.md. Raises what write_executable raises."""
    artifact = read_artifact(model)
    with new_folder(folder) as house:
        own = collect_wheels(house / "wheels")
        copy_model(artifact, house)
        for name, text in _instructions(artifact, own).items():
            (house / name).write_text(text, encoding="utf-8")
        (house / "install.sh").chmod(0o755)


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
    'torchless[cpu]=={version}'
printf 'now: %s %s IMAGE...\\n' "$folder/bin/infer" "$here"/{shlex.quote(model)}
"""
    readme = f"""# {printable(artifact.manifest.model.name)}, with all that it needs to run

For Python {python} on {sys.platform}, {platform.machine()}. No network is needed:

    sh install.sh                       # into ./venv, or: sh install.sh FOLDER
    venv/bin/infer {model} IMAGE...

`wheels/` can be served to other installations too: `pip install --no-index --find-links wheels 'torchless[cpu]'`.
"""
    return {"install.sh": script, "README.md": readme}
