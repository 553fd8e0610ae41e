"""torch's two exporters, and the versions of ONNX's operators that both can write. Imports nothing heavy: the command
line shows them.
"""

from typing import Literal, get_args

Exporter = Literal["dynamo", "torchscript"]
EXPORTERS: tuple[Exporter, ...] = get_args(Exporter)  # in the order in which "auto" tries them

DEFAULT_OPSET = 20
OPSETS = (18, 20)  # the oldest that the dynamo exporter writes, the newest that the TorchScript exporter writes
