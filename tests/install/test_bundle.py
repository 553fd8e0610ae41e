"""`torchless bundle`: what it writes classifies an image with a bare Python, without network and registries."""

import json
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.install.conftest import Environment

from torchless import Classifier
from torchless.errors import MissingDependencyError
from torchless.shipping import executable, wheels

pytestmark = pytest.mark.slow

BARE_PYTHON = Path(
    sys.base_prefix, "bin", f"python3.{sys.version_info.minor}"
)  # that of the virtual environment, which has no torchless


def run_offline(*command: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """With nothing of this environment, and proxies that nobody answers on."""
    nowhere = "http://127.0.0.1:9"
    environment = {
        "HOME": str(cwd),
        "PATH": "/usr/bin:/bin",
        "PIP_NO_INDEX": "1",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
    }
    environment |= {"PYTHON": str(BARE_PYTHON), "PIP_CONFIG_FILE": "/dev/null"}
    done = subprocess.run([*map(str, command)], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done


@pytest.fixture(scope="module")
def house(runtime: Environment, tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheelhouse, written where torchless was installed from a wheel that is no longer there."""
    folder = tmp_path_factory.mktemp("ship")
    assert (
        "there: sh house/install.sh"
        in runtime.run("torchless", "bundle", tiny, "--wheelhouse", folder / "house").stdout
    )
    assert [path.name for path in folder.iterdir()] == ["house"]
    return folder / "house"


@pytest.fixture
def answer(tiny: Path, photos: Path) -> dict:
    return Classifier(tiny, device="cpu").classify(photos / "coffee.png", top_k=2).to_dict()["predictions"]


def predictions(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return json.loads(done.stdout.splitlines()[-1])["predictions"]


def test_torchless_own_wheel_is_put_together_again(house: Path, wheel: Path) -> None:
    (own,) = (house / "wheels").glob("torchless-*.whl")
    made, original = zipfile.ZipFile(own), zipfile.ZipFile(wheel)
    assert set(made.namelist()) == set(original.namelist())
    assert all(made.read(name) == original.read(name) for name in made.namelist() if not name.endswith("/RECORD"))


def test_a_wheelhouse(house: Path, photos: Path, tmp_path: Path, answer: list[dict]) -> None:
    said = run_offline("sh", house / "install.sh", tmp_path / "there", cwd=tmp_path).stdout
    program, model = said.split()[1:3]
    done = run_offline(program, model, photos / "coffee.png", "-k", 2, "-f", "jsonl", cwd=tmp_path)
    assert predictions(done) == answer


def test_one_executable_file(
    house: Path, tiny: Path, photos: Path, tmp_path: Path, answer: list[dict], monkeypatch
) -> None:
    monkeypatch.setattr(
        executable, "collect_wheels", lambda folder: shutil.copytree(house / "wheels", folder)
    )  # once is enough
    executable.write_executable(tiny, tmp_path / "tiny.pex")
    done = run_offline(BARE_PYTHON, tmp_path / "tiny.pex", photos / "coffee.png", "-k", 2, "-f", "jsonl", cwd=tmp_path)
    assert predictions(done) == answer
    assert (
        "Usage" in run_offline(tmp_path / "tiny.pex", cwd=tmp_path).stdout
    )  # executable as it is, and explains itself
    assert [path.name for path in tmp_path.glob(".*part*")] == []


def test_needs_are_followed_through_extras_and_markers(monkeypatch: pytest.MonkeyPatch) -> None:
    requires = {
        "torchless": [
            "numpy>=1.26",
            "onnxruntime>=1.20; extra == 'cpu'",
            "torch; extra == 'export'",
            "a-loop[fast] (>=1)",
        ],
        "onnxruntime": ["protobuf>=4", "sympy; extra == 'cpu' and python_version < '3'", "not-installed"],
        "a-loop": ["torchless; extra == 'fast'", "quick ; extra == 'fast'", "never; sys_platform == 'nowhere'"],
    }

    def distribution(name: str) -> SimpleNamespace:
        if name == "not-installed":
            raise PackageNotFoundError(name)
        return SimpleNamespace(requires=requires.get(name), version=f"1.{len(name)}")

    monkeypatch.setattr(wheels, "distribution", distribution)
    assert wheels.pinned("cpu") == {
        "numpy": "1.5", "onnxruntime": "1.11", "a-loop": "1.6", "torchless": "1.9", "quick": "1.5", "protobuf": "1.8",
    }  # fmt: skip


class TestErrors:
    def test_one_or_the_other(self, tiny: Path, command_line) -> None:
        code, _, err = command_line("torchless", "bundle", tiny, "-o", "x.pex", "--wheelhouse", "x")
        assert code == 2
        assert "--output and --wheelhouse exclude each other" in err

    def test_a_folder_that_is_in_use(self, tiny: Path, photos: Path, command_line) -> None:
        code, _, err = command_line("torchless", "bundle", tiny, "--wheelhouse", tiny.parent)
        assert code == 2
        assert "it already exists and is not an empty folder" in err

    def test_no_model(self, tmp_path: Path, command_line) -> None:
        assert command_line("torchless", "bundle", tmp_path / "none.onnx", "-o", tmp_path / "x.pex")[0] == 3

    def test_no_pex(self, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pex", None)
        with pytest.raises(MissingDependencyError, match=r"pip install 'torchless\[bundle\]'"):
            executable.write_executable(tiny, tmp_path / "x.pex")

    def test_pip_fails(
        self, wheel: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command_line
    ) -> None:
        monkeypatch.setattr(wheels, "own_wheel", lambda folder: Path(shutil.copy(wheel, folder)))
        monkeypatch.setattr(wheels, "pinned", lambda _: {"numpy": "0.0.1"})
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        code, _, err = command_line("torchless", "bundle", tiny, "--wheelhouse", tmp_path / "house")
        assert code == 1
        assert "pip failed: " in err
        assert list(tmp_path.iterdir()) == []
