"""The wheel, and environments of their own to install it into: what a user has who never saw this repository."""

import os
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import REPO


class Environment:
    """A virtual environment in which programs run far from the repository."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder / "venv", with_pip=True)
        self.bin, self.home = folder / "venv" / "bin", folder
        self._variables = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV") and not k.startswith("COV")}

    def pip_install(self, *arguments: object) -> None:
        self.run("pip", "install", "--quiet", "--disable-pip-version-check", *arguments)

    def run(self, program: str, *arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs one of its programs, and checks the exit code."""
        command = [str(self.bin / program), *map(str, arguments)]
        done = subprocess.run(command, cwd=self.home, env=self._variables, capture_output=True, text=True, check=False)
        assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, REPO], check=True)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def make_environment(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Environment]:
    return lambda name: Environment(tmp_path_factory.mktemp(name))


@pytest.fixture(scope="session")
def runtime(wheel: Path, make_environment: Callable[[str], Environment]) -> Environment:
    """The wheel with the extra `cpu` alone, in the tested versions."""
    environment = make_environment("runtime")
    environment.pip_install("--constraint", REPO / "constraints.txt", f"{wheel}[cpu]")
    return environment


@pytest.fixture(scope="session")
def oldest(wheel: Path, make_environment: Callable[[str], Environment]) -> Environment:
    """The wheel with the oldest versions that pyproject.toml admits."""
    environment = make_environment("oldest")
    environment.pip_install("--constraint", REPO / "constraints-oldest.txt", f"{wheel}[cpu]")
    return environment


@pytest.fixture(scope="session")
def gpu(wheel: Path, make_environment: Callable[[str], Environment]) -> Environment:
    """The wheel beside the real onnxruntime-gpu, without CUDA's own libraries (several GB) and without a GPU."""
    environment = make_environment("gpu")
    environment.pip_install("--constraint", REPO / "constraints.txt", wheel, "onnxruntime-gpu")
    return environment
