"""Everything that can foreseeably go wrong, and the exit code each ends a command with.

    TorchlessError
    ├── UsageError (ValueError)                      2  an argument makes no sense
    ├── MissingDependencyError (ImportError)         2  onnxruntime, torch or another extra is not installed
    ├── ImageError (ValueError)                      1  this one image; the rest of a batch continues
    │   ├── ImageReadError (OSError)                    not there, not readable
    │   ├── ImageDecodeError                            not an image, or a damaged one
    │   ├── ImageTooLargeError                          more pixels than allowed
    │   └── ImageSizeError                              not the size that a model without resizing takes
    ├── InferenceError (RuntimeError)                1  the model failed on this image, or answered NaN
    ├── ArtifactError (ValueError)                   3  the model file cannot be used
    │   ├── ArtifactNotFoundError (FileNotFoundError)
    │   ├── ArtifactDamagedError                        truncated, not ONNX, or refused by ONNX Runtime
    │   ├── ExternalDataError                           its .onnx.data is missing or altered
    │   ├── SignatureError                              a signature is required, and there is no good one
    │   ├── ManifestMissingError                        an ONNX file that does not say how it is used
    │   ├── EvidenceMissingError                        a file that carries no evidence to prove it by
    │   ├── ManifestError                               a manifest that contradicts its schema or its graph
    │   └── ManifestVersionError                        written for a newer torchless
    ├── DeviceError (RuntimeError)                   4  the device asked for is not available
    └── ProofError (ArithmeticError)                 5  the model does not give PyTorch's answers here

torchless_export.errors adds ParityError (5), WeightsError (6) and NoGainError (7).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

_LONGEST_LINE = 500
_OF_PROTOCOLS = {
    **dict.fromkeys(("http", "https"), "'torchless[remote]'"),
    **dict.fromkeys(("s3", "s3a"), "'torchless[s3]'"),
    **dict.fromkeys(("gs", "gcs"), "'torchless[remote]' gcsfs"),
}


class TorchlessError(Exception):
    """Root of all errors that torchless raises on purpose; its text is meant for the user."""

    exit_code: ClassVar[int] = 1


def first_line(error: BaseException) -> str:
    """The first line of another library's exception; its class name if it has no text."""
    line = (str(error).strip() or type(error).__name__).splitlines()[0]
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"


class UsageError(TorchlessError, ValueError):
    """An argument, option or combination of them that makes no sense."""

    exit_code = 2


class MissingDependencyError(TorchlessError, ImportError):
    """An optional part of the installation is needed and missing."""

    exit_code = 2


@contextmanager
def extra(name: str, user: str) -> Iterator[None]:
    """Wraps the imports of optional packages: if one fails, MissingDependencyError says that `user` needs the extra
    `name`.
    """
    try:
        yield
    except ImportError as error:
        raise MissingDependencyError(
            f"{user} needs the extra {name} ({error}); install it: pip install 'torchless[{name}]'"
        ) from None


def missing_package(place: str, protocol: str, error: ImportError) -> MissingDependencyError:
    """The error for a `place` with a protocol that fsspec cannot open, since a package is not installed."""
    package = _OF_PROTOCOLS.get(protocol.lower())
    fix = f"pip install {package}" if package is not None else first_line(error)
    return MissingDependencyError(f"{place} needs a package that is not installed: {fix}")


class ImageError(TorchlessError, ValueError):
    """One image could not be used."""


class ImageReadError(ImageError, OSError):
    """The file is not there or cannot be read."""


class ImageDecodeError(ImageError):
    """The bytes are not an image of a supported format, or a damaged one."""


class ImageTooLargeError(ImageError):
    """Decoding or resizing would need more pixels than the limit allows."""


class ImageSizeError(ImageError):
    """The model takes images of one size as they are, and this is another."""


class InferenceError(TorchlessError, RuntimeError):
    """ONNX Runtime failed while it ran the model, or the output contains NaN or infinity."""


class ArtifactError(TorchlessError, ValueError):
    """The model file is missing, damaged or not understood."""

    exit_code = 3


class ArtifactNotFoundError(ArtifactError, FileNotFoundError):
    """There is no readable file under that name."""


class ArtifactDamagedError(ArtifactError):
    """The file is truncated, is not an ONNX model, or ONNX Runtime refuses it."""


class ExternalDataError(ArtifactError):
    """The weights that belong beside the model file are missing, or are not the original ones."""

    @classmethod
    def missing(cls, model: object, *names: str) -> "ExternalDataError":
        """`names` are the data files that are not in the folder of the file `model`."""
        return cls(f"{model} keeps its weights in {', '.join(names)}, which is not beside it; copy both files together")


class SignatureError(ArtifactError):
    """A signature is required, and the files are not signed, signed by another key, or altered since."""


class ManifestMissingError(ArtifactError):
    """The ONNX file has no manifest, and the caller gave none."""


class EvidenceMissingError(ArtifactError):
    """The file carries no evidence, so it cannot be proved without PyTorch."""


class ManifestError(ArtifactError):
    """The manifest contradicts its schema, or the graph it belongs to."""


class ManifestVersionError(ArtifactError):
    """The manifest was written by a newer torchless."""


class DeviceError(TorchlessError, RuntimeError):
    """The requested device cannot be used here."""

    exit_code = 4


class ProofError(TorchlessError, ArithmeticError):
    """A model does not give the answers of PyTorch that it carries."""

    exit_code = 5
