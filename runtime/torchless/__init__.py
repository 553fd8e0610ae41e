"""torchless: run exported image classifiers with the answers PyTorch gives, without PyTorch.

    from torchless import Classifier
    print(Classifier("artifacts/resnet50.onnx").classify("img.jpg").predictions)

Names are imported when they are first used, so that `import torchless` costs nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as below, for type checkers
    from torchless.engine.classifier import Classifier as Classifier
    from torchless.engine.results import Input as Input
    from torchless.engine.results import Prediction as Prediction
    from torchless.engine.results import Result as Result
    from torchless.errors import ArtifactDamagedError as ArtifactDamagedError
    from torchless.errors import ArtifactError as ArtifactError
    from torchless.errors import ArtifactNotFoundError as ArtifactNotFoundError
    from torchless.errors import DeviceError as DeviceError
    from torchless.errors import EvidenceMissingError as EvidenceMissingError
    from torchless.errors import ExternalDataError as ExternalDataError
    from torchless.errors import ImageDecodeError as ImageDecodeError
    from torchless.errors import ImageError as ImageError
    from torchless.errors import ImageReadError as ImageReadError
    from torchless.errors import ImageSizeError as ImageSizeError
    from torchless.errors import ImageTooLargeError as ImageTooLargeError
    from torchless.errors import InferenceError as InferenceError
    from torchless.errors import ManifestError as ManifestError
    from torchless.errors import ManifestMissingError as ManifestMissingError
    from torchless.errors import ManifestVersionError as ManifestVersionError
    from torchless.errors import MissingDependencyError as MissingDependencyError
    from torchless.errors import ProofError as ProofError
    from torchless.errors import SignatureError as SignatureError
    from torchless.errors import TorchlessError as TorchlessError
    from torchless.errors import UsageError as UsageError
    from torchless.hub.fetch import fetch_model as fetch_model
    from torchless.image.decode import ImageLike as ImageLike
    from torchless.image.options import ImageOptions as ImageOptions
    from torchless.model.artifact import FileDescription as FileDescription
    from torchless.model.manifest import Manifest as Manifest
    from torchless.model.preprocessing import Preprocess as Preprocess
    from torchless.model.preprocessing import Resize as Resize
    from torchless.proof.run import Proof as Proof
    from torchless.proof.run import verify as verify

    __version__: str

_NAMES = {
    "engine.classifier": "Classifier",
    "engine.results": "Input Prediction Result",
    "errors": (
        "ArtifactDamagedError ArtifactError ArtifactNotFoundError DeviceError EvidenceMissingError ExternalDataError "
        "ImageDecodeError ImageError ImageReadError ImageSizeError ImageTooLargeError InferenceError ManifestError "
        "ManifestMissingError ManifestVersionError MissingDependencyError ProofError SignatureError TorchlessError "
        "UsageError"
    ),
    "hub.fetch": "fetch_model",
    "image.decode": "ImageLike",
    "image.options": "ImageOptions",
    "model.artifact": "FileDescription",
    "model.manifest": "Manifest",
    "model.preprocessing": "Preprocess Resize",
    "proof.run": "Proof verify",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*sorted(_HOMES), "__version__"]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # it brings the e-mail package with it

        return version("torchless")
    if name in _HOMES:
        return getattr(import_module(f"torchless.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'torchless' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
