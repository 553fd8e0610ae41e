"""A folder from which Docker, Podman and others build a container image that serves a model."""

import math
import platform as machine
import re
import sys
from importlib.resources import files
from pathlib import Path
from string import Template

from torchless.errors import UsageError
from torchless.model.artifact import Artifact, read_artifact
from torchless.model.evidence import Evidence
from torchless.model.signing import SUFFIX as SIGNATURE
from torchless.shipping.wheels import collect_wheels, copy_model, new_folder, own_wheel, pinned
from torchless.text import printable

PLATFORMS = {"linux/amd64": "x86_64", "linux/arm64": "aarch64"}
_GLIBC = 17, 28, 34  # the least versions that wheels are built for, up to that of the base image
_PLAIN_NAME = re.compile(r"[\w.+-]+", re.ASCII)
_NAMES = "Containerfile", "compose.yaml", "kubernetes.yaml"
_BESIDE_WEIGHTS = 512e6  # bytes that a server takes besides its weights, which it holds twice


def write_build_folder(model: Path, folder: Path, *, platform: str | None = None, gpu: bool = False) -> None:
    """Writes a new folder with `model`, its signature if there is one, the wheels of torchless and of all that serving
    needs, a Containerfile, and examples for compose and Kubernetes.

    `platform` is what the image is for, "linux/amd64" or "linux/arm64"; by default this machine's processor. With `gpu`
    the image takes ONNX Runtime and CUDA from a registry when it is built. Raises ArtifactError for the model,
    UsageError if the folder cannot be written, BundleError if pip fails.
    """
    artifact = read_artifact(model)
    if not _PLAIN_NAME.fullmatch(model.name):
        raise UsageError(
            f"{model}: in a container, a model's name has only letters, digits and . _ + -; rename the file"
        )
    tags = _tags(platform)
    with new_folder(folder) as context:
        (context / "model").mkdir()
        if gpu:
            (context / "wheels").mkdir()
            own = own_wheel(context / "wheels")
            (context / "wheels" / "constraints.txt").write_text(_constraints(), encoding="utf-8")
        else:
            own = collect_wheels(context / "wheels", extras="cpu,serve", platforms=tags)
        copy_model(artifact, context / "model")
        _copy_signature(artifact, context / "model")
        for name, text in _texts(artifact, own, gpu).items():
            (context / name).write_text(text, encoding="utf-8")


def image_name(model: Path) -> str:
    """What the examples call the image: the model's name as Kubernetes takes one."""
    return re.sub(r"[^a-z0-9]+", "-", model.stem.lower()).strip("-") or "model"


def _tags(platform: str | None) -> tuple[str, ...]:
    """What pip calls the image's kind of machine."""
    processor = {"AMD64": "x86_64", "arm64": "aarch64"}.get(machine.machine(), machine.machine())
    wanted = PLATFORMS.get(platform or "", "") or (processor if platform is None else "")
    if wanted not in PLATFORMS.values():
        raise UsageError(f"there are no images for {platform or processor}; `platform` is {' or '.join(PLATFORMS)}")
    return (*(f"manylinux_2_{version}_{wanted}" for version in _GLIBC), f"manylinux2014_{wanted}")


def _constraints() -> str:
    """The versions installed here, of the wheel for GPUs too."""
    pins = pinned("cpu,serve").items()
    return "".join(f"{'onnxruntime-gpu' if name == 'onnxruntime' else name}=={version}\n" for name, version in pins)


def _copy_signature(artifact: Artifact, folder: Path) -> None:
    signature = artifact.path.with_name(artifact.path.name + SIGNATURE)
    if signature.is_file():
        (folder / signature.name).write_bytes(signature.read_bytes())


def _texts(artifact: Artifact, own: Path, gpu: bool) -> dict[str, str]:
    file = artifact.path.name
    has_proof = Evidence.KEY in artifact.file.metadata
    command = f"torchless verify /model/{file} --device cpu" if has_proof else f"torchless inspect /model/{file}"
    memory = math.ceil((2 * artifact.size + _BESIDE_WEIGHTS) / 256e6) * 256
    values = (_GPU if gpu else _CPU) | {
        "name": printable(artifact.manifest.model.name),  # it may come from anybody, and lines here are commands
        "file": file,
        "tag": image_name(artifact.path),
        "version": own.name.split("-")[1],
        "python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "proof": f"/opt/torchless/bin/{command}",
        "memory": f"{memory}m",
        "memory_kubernetes": f"{memory}Mi",
    }
    if gpu and has_proof:  # what was built on a processor proves itself on the GPU at every start
        values["device"] += ', "--self-test"'
    return {name: _filled(name, values) for name in _NAMES}


def _filled(template: str, values: dict[str, str]) -> str:
    text = (files("torchless.shipping") / "templates" / template).read_text("utf-8")
    return Template(text).substitute(values).rstrip() + "\n"


_CPU = {
    "about": "Everything that is installed lies in this folder: building needs a\n# registry only for the base image.",
    "extra": "cpu",
    "sources": "--no-index --find-links /wheels",
    "variables": "",
    "patience": "60",
    "device": "",
    "gpu_compose": "",
    "gpu_kubernetes": "",
}
_GPU = {
    "about": "ONNX Runtime and CUDA's libraries are several GB, and come from a\n# registry while the image is built. "
    "The host needs NVIDIA's driver and its container toolkit (docker run --gpus all).",
    "extra": "gpu",
    "sources": "--find-links /wheels --constraint /wheels/constraints.txt",
    "variables": " NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility",
    "patience": "120",
    "device": ', "--device", "cuda"',
    "gpu_compose": """\
    deploy:
      resources:
        reservations:
          devices: [{driver: nvidia, count: 1, capabilities: [gpu]}]
""",
    "gpu_kubernetes": ', nvidia.com/gpu: "1"',
}
