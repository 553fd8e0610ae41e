"""One executable file (pex): `infer` with a model inside it, for machines like this one that have Python and nothing
else.
"""

import os
import sys
import sysconfig
import warnings
import zipfile
from importlib import import_module
from pathlib import Path

from torchless.errors import extra
from torchless.model.artifact import Artifact, read_artifact
from torchless.shipping.wheels import collect_wheels, copy_model, run_module, workshop

_MODEL_PACKAGE = "torchless_model"


def write_executable(model: Path, output: Path) -> None:
    """Writes one file that classifies images with `model`: `python3 OUTPUT IMAGE…` is `infer MODEL IMAGE…`.

    Raises ArtifactError for the model, MissingDependencyError without the extra `bundle`, UsageError if `output` cannot
    be written, and BundleError if pip or pex fails.
    """
    artifact = read_artifact(model)
    with extra("bundle", "one executable file"):
        import_module("pex")
    with workshop(output) as folder:
        collect_wheels(folder / "wheels")
        _write_model_package(artifact, folder / "sources" / _MODEL_PACKAGE)
        # Wheels as they are, not pre-installed: it was written in 6 s, not 22, and its first run took 14 s, not 11.
        run_module(
            "pex", "torchless[cpu]", "--pre-resolved-dists", folder / "wheels", "--sources-directory",
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


def _write_model_package(artifact: Artifact, folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text(f"NAME = {artifact.path.name!r}\n", encoding="utf-8")
    copy_model(artifact, folder)
