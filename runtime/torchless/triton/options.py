"""How Triton runs a model. Importing it costs nothing: the command line takes its defaults from here."""

from typing import Literal

from torchless.errors import UsageError
from torchless.records import dataclass

Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True, kw_only=True)
class TritonOptions:
    """How Triton runs a model: `instances` of it on `device` (auto: the GPUs if there are any), with `threads` each on
    a CPU; batches of up to `max_batch_size` images, for which a request waits up to `delay_us` microseconds.
    `tensorrt` runs it with TensorRT where there is a GPU: whether the answers are PyTorch's then was not proved.
    """

    max_batch_size: int = 8
    delay_us: int = 1000
    instances: int = 1
    device: Device = "auto"
    threads: int | None = None
    tensorrt: bool = False

    def __post_init__(self) -> None:
        for field, least in (("max_batch_size", 1), ("delay_us", 0), ("instances", 1), ("threads", 1)):
            value = getattr(self, field)
            if value is not None and value < least:
                raise UsageError(f"`{field}` must be at least {least}, got {value}")
        if self.tensorrt and self.device == "cpu":
            raise UsageError("`tensorrt` needs a GPU: give `device` cuda or auto")
