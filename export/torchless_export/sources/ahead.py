"""What can be refused before torch is imported, which takes seconds: names, files, options. Everything is checked again
where it is used.
"""

import os
from collections.abc import Iterable
from pathlib import Path

from torchless.errors import UsageError
from torchless.expected.answers import read_expected
from torchless.model.labels import read_labels
from torchless.model.onnxfile import read_onnx
from torchless_export.errors import NoCheckpointError
from torchless_export.sources.names import check_offered
from torchless_export.sources.request import NO_WEIGHTS, ModelRequest, check_request, library_of


def check_export(request: ModelRequest, output: Path, expect: Path | None) -> None:
    """Raises UnknownModelError, UsageError or WeightsError for what export_model would refuse by then."""
    check_request(request)
    if request.builder is not None:
        check_builder(request.builder)
    elif library_of(request.model) is None:
        plain = request.checkpoint is None and request.weights != NO_WEIGHTS
        check_offered(request.model, request.weights if plain else None)
    _check_files(request.checkpoint, request.labels if isinstance(request.labels, Path) else None, expect)
    check_output(output, ".onnx")


def check_rebuild(
    model: Path, *, checkpoint: Path | None, labels: Path | None, expect: Path | None, report: Path | None
) -> None:
    """Raises ArtifactError, UsageError or WeightsError for what verification.verify would refuse by then."""
    read_onnx(model)
    _check_files(checkpoint, labels, expect)
    if report is not None:
        check_output(report)


def check_names(models: Iterable[str], weights: str) -> None:
    """Raises UnknownModelError for a name that torchvision does not have."""
    for model in models:
        check_offered(model, None if weights == NO_WEIGHTS else weights)


def check_builder(builder: str) -> None:
    """Raises UsageError for what is no package.module:function."""
    module, _, function = builder.partition(":")
    if not module or not function:
        raise UsageError(f"`builder` takes package.module:function, got {builder!r}")


def check_checkpoint(path: Path) -> None:
    """Raises NoCheckpointError where there is no such file."""
    if os.path.isdir(path):
        raise NoCheckpointError(f"{path} is a folder; give the file of weights in it")
    if not os.path.isfile(path):
        fetch = "; fetch it first: `checkpoint` takes a file" if ":/" in str(path) else ""
        raise NoCheckpointError(f"there is no checkpoint file {path}{fetch}")


def check_output(path: Path, suffix: str = "") -> None:
    """Raises UsageError for an output that could not be written, or that should end otherwise."""
    if not path.name.endswith(suffix):
        raise UsageError(f"the output file must end in {suffix}, got {path}")
    if os.path.isdir(path):
        raise UsageError(f"cannot write {path}: it is a folder")
    if os.path.lexists(path.parent) and not os.path.isdir(path.parent):
        raise UsageError(f"cannot write {path.parent}: it is no folder")
    if not suffix and not os.path.isdir(path.parent):
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")


def _check_files(checkpoint: Path | None, labels: Path | None, expect: Path | None) -> None:
    if checkpoint is not None:
        check_checkpoint(checkpoint)
    if labels is not None:
        read_labels(labels)
    if expect is not None:
        read_expected(expect)
