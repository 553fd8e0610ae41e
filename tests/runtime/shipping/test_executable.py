"""A bundle under another Python; tests/install makes and runs whole ones."""

import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from torchless.shipping.executable import check_python_first

OTHER = "import sys, sysconfig, runpy; sys.argv = sys.argv[1:]; sys.version_info = (3, 99, 1, 'final', 0); "
OTHER += "sysconfig.get_config_var = lambda name: 'cpython-399-x86_64-linux-gnu'; runpy.run_path(sys.argv[0])"


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    (source := tmp_path / "source").mkdir()
    (source / "__main__.py").write_text("import sys\nprint(sys.argv[1:])\n")
    zipapp.create_archive(source, made := tmp_path / "tiny.pex", "/usr/bin/env python3")
    check_python_first(made)
    return made


def test_a_bundle_runs_under_its_own_python(bundle: Path) -> None:
    done = subprocess.run([sys.executable, bundle, "a.jpg"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "['a.jpg']\n", "")


def test_a_bundle_names_the_python_it_wants(bundle: Path) -> None:
    done = subprocess.run([sys.executable, "-c", OTHER, bundle], capture_output=True, text=True, check=False)
    wanted = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith(f"{bundle} was made for Python {wanted} (cpython-")
    assert done.stderr.endswith(
        f"), and this is Python 3.99 (cpython-399-x86_64-linux-gnu): run it with python{wanted}, or bundle the model "
        "again with this one\n"
    )
