"""Which model is to be exported, with every default. Imports nothing heavy: the command line shows the defaults."""

from dataclasses import dataclass, field
from pathlib import Path

from torchless.model.manifest import Activation
from torchless.model.preprocessing import PreprocessChanges

NO_WEIGHTS = "none"


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Which model to export. `weights` is "DEFAULT", a name such as "IMAGENET1K_V1", or "none" for random ones drawn
    with `seed`.

    `transform_input` is for checkpoints of GoogLeNet and Inception: whether the network normalises its input once more,
    as those do that began as torchvision's pretrained weights; None takes that for granted, and the export says so.
    `labels` is a file of labels (docs/labels.md), or the labels themselves. `activation` None takes softmax, and the
    export says so. `threshold` is the probability from which a class counts as present: one for all classes, or one for
    each.
    """

    model: str
    weights: str = "DEFAULT"
    checkpoint: Path | None = None
    checkpoint_key: str | None = None
    builder: str | None = None
    transform_input: bool | None = None
    labels: Path | tuple[str, ...] | None = None
    num_classes: int | None = None
    activation: Activation | None = None
    threshold: float | tuple[float, ...] | None = None
    changes: PreprocessChanges = field(default_factory=PreprocessChanges)
    seed: int = 0
