"""What is asked of quantize and tune, with every default. Imports nothing heavy: the command line shows the
defaults.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from torchless.errors import UsageError
from torchless_export.gate.limits import MAX_ERROR_RISE, MIN_AGREEMENT

if TYPE_CHECKING:
    from torchless_export.reduce.images import ImageSplit

WeightBits = Literal[7, 8]
Goal = Literal["latency", "throughput"]
_LARGEST_SHARE = 3


@dataclass(frozen=True)
class Bounds:
    """At most `layers` layers stay in float32 (None: a third of all), and the sensitivity pass ends after `seconds`
    seconds.
    """

    layers: int | None = None
    seconds: float = 300.0

    def most(self, count: int) -> int:
        """Of `count` layers."""
        return min(count, count // _LARGEST_SHARE if self.layers is None else self.layers)


@dataclass(frozen=True, kw_only=True)
class QuantizeRequest:
    """What to make of the float32 artifact `source`, and what it has to pass.

    `min_agreement` is the least share, in 0..1, of test images with the float32 file's top-1 class. `data` are labelled
    images (a folder of class folders, or a list), on which top-1 error may rise by `max_error_rise`, in 0..1;
    `class_map` says which name in it is which class. `weight_bits` None takes what this processor needs. `kept_float`
    stay in float32: for int8 these are names of ONNX nodes, in addition to those that the search finds within `bounds`;
    for float16 they are operator types. `force` also writes a file that is no gain. `evidence`: whether the file
    carries that of `source` (docs/verify.md).
    """

    source: Path
    precision: Literal["int8", "fp16"]
    images: "ImageSplit"
    data: Path | None = None
    class_map: Path | None = None
    min_agreement: float = MIN_AGREEMENT
    max_error_rise: float = MAX_ERROR_RISE
    weight_bits: WeightBits | None = None
    kept_float: tuple[str, ...] = ()
    bounds: Bounds = field(default_factory=Bounds)
    force: bool = False
    evidence: bool = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Path(self.source))
        if self.precision not in ("int8", "fp16"):
            raise UsageError(f"unknown precision {self.precision!r}; it is one of int8, fp16")


@dataclass(frozen=True, kw_only=True)
class TuneRequest:
    """What to try with the float32 artifact `source`. The goal "latency" is the shortest time for one image,
    "throughput" the most images per second. `min_agreement` is as in QuantizeRequest; each setting is measured for
    `seconds` in each round.
    """

    source: Path
    images: "ImageSplit"
    min_agreement: float = MIN_AGREEMENT
    goal: Goal = "latency"
    batch_sizes: tuple[int, ...] = (1, 8)
    seconds: float = 0.3

    def __post_init__(self) -> None:
        object.__setattr__(self, "source", Path(self.source))
