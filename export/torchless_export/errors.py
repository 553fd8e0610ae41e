"""What can go wrong on the export side, in addition to torchless.errors.

TorchlessError
├── UnknownModelError (LookupError)      2  torchvision has no model or weights of that name
├── ExportError (RuntimeError)           5  torch cannot turn the model into ONNX
├── ParityError (ArithmeticError)        5  the exported file does not give PyTorch's answers
├── WeightsError (OSError)               6  the weights are not available, or do not fit the model
│   └── NoCheckpointError (ValueError)   2  what was named as a checkpoint is not there, or is something else
└── NoGainError (ValueError)             7  it does not pay: the file would not be smaller and faster here
"""

from torchless.errors import TorchlessError
from torchless.model.manifest import Parity


class UnknownModelError(TorchlessError, LookupError):
    """torchvision has no classifier, or no weights, of that name."""

    exit_code = 2


class ExportError(TorchlessError, RuntimeError):
    """torch's exporter failed on this model."""

    exit_code = 5


class ParityError(TorchlessError, ArithmeticError):
    """The gate found that the exported file and PyTorch differ; `parity` holds every check with its figure and
    limit.
    """

    exit_code = 5

    def __init__(self, message: str, parity: Parity) -> None:
        super().__init__(message)
        self.parity = parity

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return self.parity.failed


class NoGainError(TorchlessError, ValueError):
    """It does not pay: a file of lower precision is not smaller, or not faster, on this machine."""

    exit_code = 7


class WeightsError(TorchlessError, OSError):
    """The weights could not be downloaded or read, or do not fit the model."""

    exit_code = 6


class NoCheckpointError(WeightsError, ValueError):
    """What was named as a checkpoint is not there, or is a file of another kind."""

    exit_code = 2
