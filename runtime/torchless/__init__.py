"""torchless: run exported image classifiers with the answers PyTorch gives, without PyTorch.

    from torchless import Classifier
    print(Classifier("artifacts/resnet50.onnx").classify("img.jpg").predictions)

Names are imported when they are first used, so that `import torchless` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torchless.engine.classifier import Classifier
    from torchless.engine.results import Prediction, Result
    from torchless.errors import (
        ArtifactError,
        DeviceError,
        ImageError,
        InferenceError,
        MissingDependencyError,
        TorchlessError,
        UsageError,
    )
    from torchless.image.options import ImageOptions
    from torchless.model.artifact import FileDescription
    from torchless.model.manifest import Manifest, Preprocess

    __version__: str

_HOMES = {
    "ArtifactError": "errors",
    "Classifier": "engine.classifier",
    "DeviceError": "errors",
    "FileDescription": "model.artifact",
    "ImageError": "errors",
    "ImageOptions": "image.options",
    "InferenceError": "errors",
    "Manifest": "model.manifest",
    "MissingDependencyError": "errors",
    "Prediction": "engine.results",
    "Preprocess": "model.manifest",
    "Result": "engine.results",
    "TorchlessError": "errors",
    "UsageError": "errors",
}

__all__ = [
    "ArtifactError",
    "Classifier",
    "DeviceError",
    "FileDescription",
    "ImageError",
    "ImageOptions",
    "InferenceError",
    "Manifest",
    "MissingDependencyError",
    "Prediction",
    "Preprocess",
    "Result",
    "TorchlessError",
    "UsageError",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # it brings the e-mail package with it

        return version("torchless")
    if name in _HOMES:
        return getattr(import_module(f"torchless.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'torchless' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
