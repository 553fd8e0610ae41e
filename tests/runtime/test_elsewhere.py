"""Systems without POSIX: nothing of theirs is tested here but that torchless does not need what they lack."""

import pkgutil
import subprocess
import sys
from pathlib import Path

from tests import elsewhere
from tests.surroundings import PATIENCE_S

import torchless

BASE = "numpy,PIL.Image,onnxruntime,typer,subprocess,tempfile,concurrent.futures,importlib.metadata,shutil,platform"
SERVING = (
    "multiprocessing.connection,multiprocessing.popen_spawn_posix,asyncio,uvloop,httptools,uvicorn,starlette.applications,"
    "prometheus_client.multiprocess,orjson,python_multipart"
)
NOT_THERE = ("torchless.ray.", "torchless.__main__")  # Ray brings its own world with it


def run(packages: str, *arguments: object) -> subprocess.CompletedProcess:
    command = [sys.executable, elsewhere.__file__, packages, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def test_every_module_can_be_imported() -> None:
    modules = [each.name for each in pkgutil.walk_packages(torchless.__path__, "torchless.")]
    wanted = [name for name in modules if not name.startswith(NOT_THERE)]
    assert "torchless.serve.workers" in wanted
    ended = run(f"{BASE},{SERVING}", "import", *wanted)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_many_images_through_a_journal(tiny: Path, photos: Path, tmp_path: Path) -> None:
    images = [photos / "coffee.png", photos / "rocket.jpg"]
    ended = run(BASE, "torchless", "infer", tiny, *images, "-o", tmp_path / "rows.jsonl", "--workers", 2)
    assert ended.returncode == 0, ended.stderr
    assert len((tmp_path / "rows.jsonl").read_text().splitlines()) == 2
    assert list(tmp_path.iterdir()) == [tmp_path / "rows.jsonl"]


def test_doctor(tiny: Path) -> None:
    """It may find fault with the environment that the tests run in."""
    ended = run(BASE, "torchless", "doctor", tiny)
    assert "Traceback" not in ended.stderr
    assert "processors" in ended.stdout
