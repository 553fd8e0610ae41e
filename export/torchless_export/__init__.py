"""The export side of torchless: from a PyTorch classifier to a proved ONNX file. Needs the extra `export`.

    from torchless_export import export_model
    export_model(network, transform=transform, labels=labels, output="mine.onnx")

Names are imported when they are first used, so that `import torchless_export` does not import PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # the same names as below, for type checkers
    from torchless_export.errors import ExportError as ExportError
    from torchless_export.errors import NoGainError as NoGainError
    from torchless_export.errors import ParityError as ParityError
    from torchless_export.errors import UnknownModelError as UnknownModelError
    from torchless_export.errors import WeightsError as WeightsError
    from torchless_export.export import Exported as Exported
    from torchless_export.export import export_model as export_model
    from torchless_export.in_graph.build import InGraph as InGraph
    from torchless_export.recording import record as record
    from torchless_export.reduce.images import ImageSplit as ImageSplit
    from torchless_export.reduce.quantize import Quantized as Quantized
    from torchless_export.reduce.quantize import quantize as quantize
    from torchless_export.reduce.request import QuantizeRequest as QuantizeRequest
    from torchless_export.sources.request import ModelRequest as ModelRequest
    from torchless_export.verification import Verification as Verification
    from torchless_export.verification import verify as verify

_NAMES = {
    "errors": "ExportError NoGainError ParityError UnknownModelError WeightsError",
    "export": "Exported export_model",
    "in_graph.build": "InGraph",
    "recording": "record",
    "reduce.images": "ImageSplit",
    "reduce.quantize": "Quantized quantize",
    "reduce.request": "QuantizeRequest",
    "sources.request": "ModelRequest",
    "verification": "Verification verify",
}
_HOMES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [*sorted(_HOMES)]  # noqa: PLE0604 - they are strings


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"torchless_export.{_HOMES[name]}"), name)
    raise AttributeError(f"module 'torchless_export' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
