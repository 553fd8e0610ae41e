"""The limits of the gate, in one place. docs/parity.md says where they come from, and how far every torchvision model
stands from them.
"""

from dataclasses import dataclass

BATCH_SIZES = (1, 2, 3, 8)

# What the oldest ONNX Runtime that pyproject.toml admits (1.20.0) can read; tests/install proves it with that version.
MAX_OPSET, MAX_IR_VERSION = 21, 10

# ONNX Runtime's error against float64 may be this many times PyTorch's own float32 error on the same images.
MAX_UNITS = 5.0
# PyTorch's own error is counted as at least the distance between neighbouring float32 numbers at the size of the
# largest logit.
FLOAT32_STEP = 2.0**-23

# PyTorch's own logits of an image may move by this share of the largest one when it is asked again, or in a batch.
# Rounding is a hundredth of that (the worst of the zoo is 1.4e-5 of the spread), a fault some hundred times it.
MAX_REFERENCE_SHARE = 1e-3

# Networks with more parameters than this are compared without float64: its copies take 12 bytes per parameter.
MAX_FLOAT64_PARAMETERS = 400_000_000
# There, a logit may differ by this share of the logits' spread (their largest minus their smallest), plus this much in
# any case.
RELATIVE_LIMIT, ABSOLUTE_LIMIT = 5e-5, 1e-6

# Where preprocessing is in the graph: the share of values that may differ from torchvision's, and by how many steps of
# 1/255.
MAX_PIXELS_SHARE, MAX_PIXELS_STEPS = 1e-4, 1.0

# Below float32 answers are compared, not logits (docs/quantize.md). Unless the user says otherwise: the least share of
# test images with the same top-1 class, and the largest rise of top-1 error on labelled images. In any case: the least
# number of test images; and for float16 the largest noise, as a share of the logits' standard deviation between images.
MIN_AGREEMENT, MAX_ERROR_RISE, LEAST_IMAGES, MAX_HALF_NOISE = 0.95, 0.01, 50, 0.02

# Between images each logit must move by this many times the limit, or agreement would prove nothing.
VACUITY_FACTOR = 100.0


@dataclass(frozen=True)
class Limits:
    """How far a logit may be from PyTorch's: `units` times `unit`. Under the rule "spread", `unit` is the whole limit,
    and `units` is 1.
    """

    unit: float
    units: float

    @property
    def absolute(self) -> float:
        return self.unit * self.units
