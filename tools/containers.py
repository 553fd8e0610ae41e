"""Builds and runs a container image where no registry can be reached: `make containers`.

The base image is made of Debian's packages; then the very steps of the Containerfile are carried out, without a
network, and the server is started as the image says: as process 1, as a user who is not root, on a root file system
that cannot be written to. It classifies a photo, answers the health check and drains. figures/containers.json has what
it took.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import skimage

from torchless.doctor.machine import here

REPO = Path(__file__).parents[1]
_BASE = REPO / "build" / "containers" / "base"
_DEBIAN = {"3.11": "bookworm", "3.13": "trixie"}
_UNWANTED = (
    "/usr/share/doc/*",
    "/usr/share/locale/*",
    "/usr/share/man/*",
    "/usr/share/info/*",
)  # Debian's slim images lack them too
_PORT = 8000
_PATIENCE_S = 120


@dataclass
class Image:
    """A root file system and what a Containerfile says of it."""

    root: Path
    environment: dict[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin"})
    user: str = "0:0"
    entrypoint: tuple[str, ...] = ()
    health: tuple[str, ...] = ()


def main() -> None:
    """Writes figures/containers.json. Arguments: a model file; by default the demo's."""
    model = Path(*sys.argv[1:]) if sys.argv[1:] else REPO / "artifacts" / "efficientnet_lite0.onnx"
    with tempfile.TemporaryDirectory(prefix="torchless-image-") as folder:
        context = Path(folder, "context")
        subprocess.run([Path(sys.executable).with_name("torchless"), "image", model, "--output", context], check=True)
        started = time.monotonic()
        image = build(context, Path(folder))
        size = _megabytes(image.root) - _megabytes(image.root / "model")
        print(f"built in {time.monotonic() - started:.0f} s: {size:.0f} MB without the model", flush=True)
        run = serve(image)
    packages = _megabytes(_BASE)
    figures = here() | {"debian": _debian(), "without_model_mb": round(size), "of_that_base_mb": round(packages)} | run
    (REPO / "figures" / "containers.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(run, indent=1))


def build(context: Path, folder: Path) -> Image:
    """Carries out a Containerfile; returns its last stage."""
    stages: dict[str, Image] = {}
    image: Image | None = None
    for word, rest in instructions((context / "Containerfile").read_text("utf-8")):
        if word == "FROM":
            name = rest.partition(" AS ")[2] or "last"
            image = stages[name] = Image(_base(rest, folder / name, tools=name != "last"))
            continue
        assert image is not None, "a Containerfile begins with FROM"
        _step(word, rest, image, context, stages)
    assert image is not None
    return image


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Each instruction and what follows it."""
    for line in text.replace("\\\n", " ").splitlines():
        if line.strip() and not line.startswith("#"):
            word, _, rest = line.partition(" ")
            yield word, rest.strip()


def _step(word: str, rest: str, image: Image, context: Path, stages: dict[str, Image]) -> None:
    match word:
        case "COPY":
            *option, source, target = rest.split()
            home = stages[option[0].removeprefix("--from=")].root if option else context
            shutil.copytree(home / source.lstrip("/"), image.root / target.lstrip("/"), symlinks=True)
        case "RUN":
            _inside(image, ["/bin/sh", "-c", rest], "--bind", "--unshare-net")
        case "ENV":
            image.environment |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        case "USER":
            image.user = rest
        case "ENTRYPOINT":
            image.entrypoint = tuple(json.loads(rest))
        case "HEALTHCHECK":
            image.health = tuple(json.loads(rest[rest.index("[") :]))
        case "EXPOSE":
            assert rest == str(_PORT)
        case _:
            raise SystemExit(f"{word} is not known here; teach tools/containers.py")


def _base(named: str, root: Path, *, tools: bool) -> Path:
    """A copy of Debian's own Python in the place of the official image; `tools` are pip and venv."""
    version = re.search(r"python:(\d+\.\d+)-slim", named)
    if version is None or version[1] not in _DEBIAN:
        raise SystemExit(
            f"Debian has no release with the Python of {named}; run this with Python {' or '.join(_DEBIAN)}"
        )
    if not _BASE.is_dir():
        _BASE.parent.mkdir(parents=True, exist_ok=True)
        options = [f"--dpkgopt=path-exclude={pattern}" for pattern in _UNWANTED]
        options.append('--aptopt=Apt::Install-Recommends "false"')
        options.append("--hook-dir=/usr/share/mmdebstrap/hooks/merged-usr")  # without it, usrmerge brings all of perl
        wanted = ["--variant=minbase", "--include=python3", *options, _DEBIAN[version[1]]]
        part = _BASE.with_name("part")
        shutil.rmtree(part, ignore_errors=True)
        subprocess.run(["mmdebstrap", "--quiet", *wanted, part, "http://deb.debian.org/debian"], check=True)
        (part / "usr/local/bin/python").symlink_to("/usr/bin/python3")
        part.rename(_BASE)
    subprocess.run(["cp", "--archive", _BASE, root], check=True)
    if tools:
        shutil.copy("/etc/resolv.conf", root / "etc")
        install = "apt-get -qq update && apt-get -qq -y --no-install-recommends install python3-venv >/dev/null"
        subprocess.run(
            ["chroot", root, "/bin/sh", "-c", install],
            check=True,
            env={"DEBIAN_FRONTEND": "noninteractive", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
        )
    return root


def _sandbox(image: Image, how: str, *options: str) -> list[str]:
    variables = [word for name, value in image.environment.items() for word in ("--setenv", name, value)]
    user, group = image.user.split(":")
    mounts = [how, str(image.root), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - the sandbox's own
    identity = ["--unshare-pid", "--unshare-user", "--uid", user, "--gid", group]
    return ["bwrap", "--die-with-parent", *mounts, *identity, "--clearenv", *variables, *options]


def _inside(image: Image, command: list[str], how: str, *options: str) -> str:
    done = subprocess.run([*_sandbox(image, how, *options), *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)} failed in the image:\n{done.stdout}{done.stderr}")
    return done.stdout


def serve(image: Image) -> dict[str, Any]:
    """Starts the image as its runtime would, uses it, and ends it; what came of it."""
    reader, writer = os.pipe()
    command = [*_sandbox(image, "--ro-bind", "--as-pid-1", "--info-fd", str(writer)), *image.entrypoint]
    started = time.monotonic()
    with subprocess.Popen(command, pass_fds=[writer], stderr=subprocess.PIPE, text=True) as process:
        os.close(writer)
        with os.fdopen(reader) as said:
            server = int(json.load(said)["child-pid"])
        try:
            _wait_until_ready(process)
            ready = time.monotonic() - started
            photo = Path(skimage.data_dir, "coffee.png").read_bytes()  # type: ignore[attr-defined]
            answer = _classify(photo)
            _inside(image, list(image.health), "--ro-bind")
            user = _inside(image, ["/usr/bin/id", "-u"], "--ro-bind").strip()
            cannot = _inside(image, ["/bin/sh", "-c", "touch /model/x /opt/torchless/x /x 2>&1 || true"], "--ro-bind")
            drained = _drain(server, photo)
            code = process.wait(_PATIENCE_S)
        finally:
            process.kill()
    assert cannot.count("Read-only file system") == 3, cannot
    assert user == image.user.partition(":")[0] != "0"
    assert answer["label"] == drained["label"] == "espresso"
    assert code == 0, f"after SIGTERM the server ended with {code}"
    return {"ready_s": round(ready, 1), "answer": answer, "user": int(user), "exit_code_after_sigterm": code}


def _wait_until_ready(process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while time.monotonic() < until:
        if process.poll() is not None:
            raise SystemExit(f"the server did not start:\n{process.stderr.read() if process.stderr else ''}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{_PORT}/v2/health/ready", timeout=2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise SystemExit("the server was not ready in time")


def _classify(photo: bytes) -> dict[str, Any]:
    address = f"http://127.0.0.1:{_PORT}/classify"
    request = urllib.request.Request(address, photo, {"Content-Type": "image/png"})
    with urllib.request.urlopen(request, timeout=_PATIENCE_S) as response:  # noqa: S310 - our own server
        best: dict[str, Any] = json.load(response)["predictions"][0]
    return best


def _drain(server: int, photo: bytes) -> dict[str, Any]:
    """The answer to a request of which half had come when SIGTERM did."""
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", _PORT, timeout=_PATIENCE_S)
    connection.putrequest("POST", "/classify")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Content-Length", str(len(photo)))
    connection.endheaders(photo[: len(photo) // 2])
    time.sleep(0.5)
    os.kill(server, signal.SIGTERM)
    connection.send(photo[len(photo) // 2 :])
    best: dict[str, Any] = json.load(connection.getresponse())["predictions"][0]
    return best


def _megabytes(folder: Path) -> float:
    files = (path for path in folder.rglob("*") if not path.is_symlink() and path.is_file())
    return sum({(found.st_ino): found.st_size for found in map(Path.stat, files)}.values()) / 1e6


def _debian() -> str:
    return (_BASE / "etc/debian_version").read_text("utf-8").strip()


if __name__ == "__main__":
    main()
