"""What must be true of a release before it is published: `make release-check`.

Builds the sdist, and the wheel from it; compares the wheel's files with the tree's; asks twine whether the index would
take them; installs the wheel with each extra into an environment of its own and runs `infer` there. Extras that bring
PyTorch, CUDA or Ray, several GB each, are resolved and not installed, unless they are named:

    make release-check                 all extras, the heavy ones resolved only
    make release-check ARGS='ray'      this one, installed
"""

import json
import shutil
import subprocess
import sys
import tarfile
import time
import tomllib
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "build" / "release"
RUNTIMES = ("cpu", "gpu", "gpu-cuda12")
# Each brings PyTorch, CUDA's libraries or Ray; the last ones are for working on torchless.
HEAVY = {"export", "timm", "hf", "ray", "gpu", "gpu-cuda12", "real", "demo", "bench", "test", "dev"}
PHOTO = ROOT / "export" / "torchless_export" / "photos" / "coffee.jpg"


def main() -> None:
    """Prints a line for each extra, and what is wrong; then it ends with exit code 1."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    named = sys.argv[1:]
    if unknown := set(named) - set(project["optional-dependencies"]):
        raise SystemExit(f"there is no extra {', '.join(sorted(unknown))}")
    shutil.rmtree(FOLDER, ignore_errors=True)
    sdist, wheel = _build()
    problems = [*_metadata(project), *_files(sdist, wheel)]
    _tool("twine", "check", "--strict", sdist, wheel)
    rows = []
    for extra in named or project["optional-dependencies"]:
        rows.append(_install(wheel, extra) if extra in named or extra not in HEAVY else _resolve(wheel, extra))
        print(json.dumps(rows[-1]), flush=True)
    problems += [f"{row['extra']}: {row['error']}" for row in rows if "error" in row]
    for problem in problems:
        print(problem, file=sys.stderr)
    raise SystemExit(bool(problems))


def _build() -> tuple[Path, Path]:
    """The sdist, and the wheel that is built from it, as an index's users get them."""
    subprocess.run([sys.executable, "-m", "venv", FOLDER / "tools"], check=True)
    pip = FOLDER / "tools" / "bin" / "pip"
    subprocess.run([pip, "install", "--quiet", "build>=1.2", "twine>=6", "pkginfo>=1.12"], check=True)
    _tool("build", "--outdir", FOLDER / "dist", ROOT)
    (sdist,), (wheel,) = (list((FOLDER / "dist").glob(pattern)) for pattern in ("*.tar.gz", "*.whl"))
    return sdist, wheel


def _metadata(project: dict[str, Any]) -> list[str]:
    """What the index shows and this project lacks."""
    wanted = ("description", "readme", "license", "keywords", "classifiers", "authors")
    return [f"pyproject.toml has no {name}" for name in wanted if not project.get(name)]


def tree() -> set[str]:
    """The files of both packages that git has, as a wheel names them."""
    listed = _run("git", "-C", ROOT, "ls-files", "runtime/torchless", "export/torchless_export")
    return {name.partition("/")[2] for name in listed.splitlines()}


def _files(sdist: Path, wheel: Path) -> list[str]:
    """Files of the tree that are not in the archives, and files there that are not in the tree."""
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    with tarfile.open(sdist) as archive_of_sources:
        names = {name.partition("/")[2] for name in archive_of_sources.getnames()}
        sources = {name.partition("/")[2] for name in names if name.startswith(("runtime/", "export/"))}
    ours = tree()
    missing = [f"not in the wheel: {name}" for name in sorted(ours - packed)]
    foreign = [f"in the wheel, and not in git: {name}" for name in sorted(packed - ours)]
    return missing + foreign + [f"not in the sdist: {name}" for name in sorted(ours - sources)]


def _install(wheel: Path, extra: str) -> dict[str, Any]:
    """Installs the wheel with one extra, and an ONNX Runtime, into an empty environment, and classifies a photo."""
    row: dict[str, Any] = {"extra": extra, "installed": True}
    folder, start = FOLDER / "venv", time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    try:
        _run(sys.executable, "-m", "venv", folder)
        pip = [folder / "bin" / "pip", "install", "--quiet", "--constraint", ROOT / "constraints.txt"]
        _run(*pip, _wanted(wheel, extra))
        _run(folder / "bin" / "pip", "check")
        said = _run(folder / "bin" / "infer", ROOT / "tests" / "data" / "tiny.onnx", PHOTO, "--format", "json")
        if json.loads(said)[0]["error"] is not None:
            row["error"] = said
        row["mb"] = round(sum(file.lstat().st_size for file in folder.rglob("*")) / 1e6)
    except subprocess.CalledProcessError as error:
        row["error"] = f"{error.stdout}{error.stderr}".strip()[-500:]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return row | {"seconds": round(time.monotonic() - start)}


def _resolve(wheel: Path, extra: str) -> dict[str, Any]:
    """Whether pip finds packages for it."""
    row: dict[str, Any] = {"extra": extra, "installed": False}
    start = time.monotonic()
    pip = [FOLDER / "tools" / "bin" / "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    try:
        found = json.loads(_run(*pip, _wanted(wheel, extra)))["install"]
        row["packages"] = len(found)
    except subprocess.CalledProcessError as error:
        row["error"] = f"{error.stdout}{error.stderr}".strip()[-500:]
    return row | {"seconds": round(time.monotonic() - start)}


def _wanted(wheel: Path, extra: str) -> str:
    return f"{wheel}[{extra if extra in RUNTIMES else f'cpu,{extra}'}]"


def _tool(module: str, *arguments: object) -> None:
    subprocess.run([FOLDER / "tools" / "bin" / "python", "-m", module, *map(str, arguments)], check=True)


def _run(*command: object) -> str:
    return subprocess.run([*map(str, command)], capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    main()
