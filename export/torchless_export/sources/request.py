"""Which model is to be exported, with every default. Imports nothing heavy: the command line shows the defaults."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from torchless.errors import UsageError
from torchless.model.labels import GivenLabels
from torchless.model.manifest import Activation, parse_activation
from torchless.model.preprocessing import PreprocessChanges, check_unit_range

NO_WEIGHTS = "none"
Library = Literal["timm", "hf"]


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Which model to export. `weights` is "DEFAULT", a name such as "IMAGENET1K_V1", or "none" for random ones drawn
    with `seed`.

    `transform_input` is for checkpoints of GoogLeNet and Inception: whether the network normalises its input once more,
    as those do that began as torchvision's pretrained weights; None takes that for granted, and the export says so.
    `labels` is a file of labels (docs/labels.md), or the labels themselves: in order, {index: name} or {name: index}.
    `activation` None takes softmax, and the export says so. `threshold` is the probability from which a class counts as
    present: one for all classes, or one for each. Text will do for a path.
    """

    model: str
    weights: str = "DEFAULT"
    checkpoint: Path | None = None
    checkpoint_key: str | None = None
    builder: str | None = None
    transform_input: bool | None = None
    labels: GivenLabels | None = None
    num_classes: int | None = None
    activation: Activation | None = None
    threshold: float | tuple[float, ...] | None = None
    changes: PreprocessChanges = field(default_factory=PreprocessChanges)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.checkpoint is not None:
            object.__setattr__(self, "checkpoint", Path(self.checkpoint))
        if self.activation is not None:
            object.__setattr__(self, "activation", parse_activation(self.activation))
        if isinstance(self.labels, str):
            object.__setattr__(self, "labels", Path(self.labels))


def check_request(request: ModelRequest) -> None:
    """Raises UsageError for what does not go together."""
    check_unit_range(request.changes.mean, request.changes.std)
    if request.transform_input is not None and (request.checkpoint is None or request.builder is not None):
        raise UsageError("`transform_input` goes with `checkpoint`")
    if request.checkpoint is not None and request.weights != "DEFAULT":
        raise UsageError("`checkpoint` and `weights` exclude each other")
    if request.checkpoint_key is not None and request.checkpoint is None:
        raise UsageError("`checkpoint_key` goes with `checkpoint`")
    if (request.builder is not None or library_of(request.model) is not None) and request.weights not in (
        "DEFAULT",
        NO_WEIGHTS,
    ):
        raise UsageError("with `builder`, timm: or hf:, `weights` takes none or nothing: they bring their own")
    if request.num_classes is not None and (
        request.builder is not None or (request.checkpoint is None and request.weights != NO_WEIGHTS)
    ):
        raise UsageError("`num_classes` goes with `checkpoint` or `weights` none; other weights have theirs")


def library_of(model: str) -> tuple[Library, str] | None:
    """("timm", "resnet18.a1_in1k") of timm:resnet18.a1_in1k; None for a model of torchvision's or a builder's."""
    library, colon, name = model.partition(":")
    return (cast(Library, library), name) if colon and name and library in get_args(Library) else None


def stem(model: str) -> str:
    """A file name for the model: resnet18.a1_in1k of timm:resnet18.a1_in1k, vit of hf:./models/vit/."""
    found = library_of(model)
    return Path(found[1]).name if found is not None else model
