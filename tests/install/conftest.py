"""The wheel, and environments of their own to install it into: what a user has who never saw this repository."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import pytest
from tests.conftest import REPO, made_once
from tests.export.conftest import exported


class Environment:
    """A virtual environment in which programs run far from the repository."""

    def __init__(self, folder: Path) -> None:
        self.bin, self.home = folder / "venv" / "bin", folder
        if not (folder / "venv").exists():
            venv.create(folder / "venv")
            self._copy_pip()
        self._variables = {
            k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV") and not k.startswith("COV")
        }

    def _copy_pip(self) -> None:
        """A tenth of the time in which venv installs it."""
        for path in distribution("pip").files or ():
            source, target = Path(str(path.locate())), self.packages / path
            if ".." not in path.parts and source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target)

    def pip_install(self, *arguments: object) -> None:
        """Modules are compiled when they are first imported, and most never are."""
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile", *arguments)

    def copy(self, folder: Path) -> "Environment":
        """Another one with the same packages, whose files are links to this one's: to take away and to replace, not to
        write into. Its scripts still run in this one: use `python -m`.
        """
        shutil.copytree(self.home / "venv", folder / "venv", symlinks=True, copy_function=os.link)
        return Environment(folder)

    @property
    def packages(self) -> Path:
        (folder,) = self.home.glob("venv/lib/python3*/site-packages")
        return folder

    def run(
        self, program: str, *arguments: object, code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs one of its programs, and checks the exit code."""
        return self._checked([str(self.bin / program), *map(str, arguments)], code, variables)

    def shell(self, command: str, *, code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
        """Runs a command line, and checks the exit code."""
        return self._checked(["bash", "-c", command], code, variables)

    def _checked(self, command: list[str], code: int, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        environment = self._variables | variables
        done = subprocess.run(command, cwd=self.home, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def lite0(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """EfficientNet-Lite0 with real ImageNet weights."""
    return exported(tmp_path_factory, "efficientnet_lite0", "examples.efficientnet_lite:lite0")


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    def build(folder: Path) -> None:
        subprocess.run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPO], check=True
        )

    (path,) = made_once(tmp_path_factory, "wheel", build).glob("*.whl")
    return path


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """A function that makes the environment `name`, once for all workers, with what pip's arguments say."""

    def make(name: str, *arguments: object) -> Environment:
        return Environment(
            made_once(tmp_path_factory, name, lambda folder: Environment(folder).pip_install(*arguments))
        )

    return make


@pytest.fixture(scope="session")
def runtime(wheel: Path, make_environment: Callable[..., Environment]) -> Environment:
    """The wheel with the extra `cpu` alone, in the tested versions."""
    return make_environment("runtime", "--constraint", REPO / "constraints.txt", f"{wheel}[cpu]")


@pytest.fixture(scope="session")
def oldest(wheel: Path, make_environment: Callable[..., Environment]) -> Environment:
    """The wheel with the oldest versions that pyproject.toml admits."""
    return make_environment("oldest", "--constraint", REPO / "constraints-oldest.txt", f"{wheel}[cpu]")


@pytest.fixture(scope="session")
def gpu(wheel: Path, make_environment: Callable[..., Environment]) -> Environment:
    """The wheel beside the real onnxruntime-gpu, without CUDA's own libraries (several GB) and without a GPU."""
    return make_environment("gpu", "--constraint", REPO / "constraints.txt", wheel, "onnxruntime-gpu")
