"""What is compared: artifacts, and torchvision's models by name, which are exported first if need be."""

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from torchless.errors import UsageError
from torchless.model.artifact import Artifact, read_artifact, sha256_of
from torchless.model.manifest import Manifest

Progress = Callable[[str], None]

# The models of the tutorial that torchless began with, and one or two of each family that came later.
TUTORIAL = (
    "alexnet", "vgg11", "vgg13", "vgg16", "vgg19", "googlenet", "inception_v3", "resnet18", "resnet34", "resnet50",
    "resnet101", "resnet152", "resnext50_32x4d", "resnext101_32x8d", "wide_resnet50_2", "wide_resnet101_2",
    "densenet121", "densenet161", "densenet169", "densenet201", "squeezenet1_0", "squeezenet1_1", "shufflenet_v2_x1_0",
    "mobilenet_v2", "mnasnet1_0",
)  # fmt: skip
LATER = (
    "mobilenet_v3_large", "efficientnet_b0", "efficientnet_v2_s", "regnet_x_3_2gf", "regnet_y_3_2gf", "convnext_tiny",
    "vit_b_16", "swin_t", "swin_v2_t", "maxvit_t",
)  # fmt: skip
SETS = {"tutorial", "all"}


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One artifact; `name` distinguishes it from the others, `size_bytes` includes its data file, `sha256` is of the
    model file.
    """

    name: str
    path: Path
    manifest: Manifest
    size_bytes: int
    sha256: str


def find_subjects(models: Sequence[str], *, weights: str, folder: Path, progress: Progress) -> list[Subject]:
    """`models` are files, names of torchvision's, "tutorial" (TUTORIAL and LATER) or "all".

    A name is the file FOLDER/NAME.onnx; if it does not exist it is exported, with `weights`. Raises UsageError for an
    existing file with other weights, and what read_artifact and export_model raise.
    """
    artifacts = [
        read_artifact(path) for path in dict.fromkeys(_paths(models, weights=weights, folder=folder, progress=progress))
    ]
    for artifact in artifacts:
        for doubt in artifact.doubts():
            progress(f"warning: {doubt}")
    return [_subject(artifact, name) for artifact, name in zip(artifacts, _names(artifacts), strict=True)]


def is_file(model: str) -> bool:
    """Whether `model` is meant as a file, and not as a name of torchvision's."""
    return model.endswith(".onnx") or "/" in model


def _paths(models: Sequence[str], *, weights: str, folder: Path, progress: Progress) -> list[Path]:
    files = set(filter(is_file, models))
    names = [name for model in models if model not in files for name in _expanded(model)]
    exported = dict(zip(names, _export_missing(names, weights, folder, progress), strict=True)) if names else {}
    return [
        path
        for model in models
        for path in ([Path(model)] if model in files else [exported[name] for name in _expanded(model)])
    ]


def _expanded(model: str) -> Sequence[str]:
    if model == "tutorial":
        return TUTORIAL + LATER
    if model != "all":
        return [model]
    from torchless_export.sources.catalog import model_names

    return model_names()


def _export_missing(names: Sequence[str], weights: str, folder: Path, progress: Progress) -> list[Path]:
    """All names are checked before the first one is exported."""
    from torchless_export.export import export_model
    from torchless_export.sources.catalog import check_model, find_weights
    from torchless_export.sources.request import NO_WEIGHTS, ModelRequest

    wanted = {
        name: None if weights == NO_WEIGHTS else find_weights(name, weights).name for name in map(check_model, names)
    }
    paths = [folder / f"{name}.onnx" for name in names]
    for name, path in zip(names, paths, strict=True):
        if os.path.lexists(path):
            _check_is(read_artifact(path), name, wanted[name])
    missing = [(name, path) for name, path in zip(names, paths, strict=True) if not os.path.lexists(path)]
    folder.mkdir(parents=True, exist_ok=True)
    for number, (name, path) in enumerate(missing, start=1):
        progress(f"exporting {name} ({number} of {len(missing)}) to {path}")
        export_model(ModelRequest(model=name, weights=weights), output=path)
    return paths


def _check_is(artifact: Artifact, name: str, weights: str | None) -> None:
    model = artifact.manifest.model
    if (
        (model.name, model.source, model.weights) != (name, "torchvision", weights)
        or model.checkpoint is not None
        or model.changes is not None
    ):
        changed = ", and another preprocessing" * (model.changes is not None)
        holds = f"{model.name} with weights {model.checkpoint or model.weights or 'none'}{changed}"
        raise UsageError(
            f"{artifact.path} holds {holds}, not {name} with weights {weights or 'none'}; "
            "give the file itself to compare it as it is, or another folder as `artifacts`"
        )


def _names(artifacts: Sequence[Artifact]) -> list[str]:
    """The model's name where no other has it, else the file's, else the whole path."""
    choices = [[artifact.manifest.model.name, artifact.path.stem, str(artifact.path)] for artifact in artifacts]
    counts = [Counter(column) for column in zip(*choices, strict=True)]
    return [
        next((name for name, count in zip(row, counts, strict=True) if count[name] == 1), row[-1]) for row in choices
    ]


def _subject(artifact: Artifact, name: str) -> Subject:
    path = artifact.path
    return Subject(name=name, path=path, manifest=artifact.manifest, size_bytes=artifact.size, sha256=sha256_of(path))
