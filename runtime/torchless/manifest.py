"""The contract between export and runtime: what an artifact says about itself.

The manifest is JSON under the key `torchless.manifest` of the ONNX file's `metadata_props`. docs/manifest.md describes each field.
The field names here are those of the JSON; where JSON has a name that Python cannot have, `_json_name` says which.
"""

import json
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, cast, get_args

from torchless.codec import decode, encode, loads
from torchless.errors import ManifestError, ManifestVersionError, UsageError

SCHEMA_VERSION = 1

Interpolation = Literal["nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos"]


def _json_name(name: str) -> Any:
    return field(default=None, metadata={"json": name})


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Where the network and its weights come from. `weights` is None for an untrained model."""

    name: str
    source: Literal["torchvision", "builder", "unknown"]
    weights: str | None
    num_params: int | None = None
    url: str | None = None
    sha256: str | None = None
    builder: str | None = None
    seed: int | None = None


@dataclass(frozen=True, kw_only=True)
class Preprocess:
    """From an RGB image to the model's input, as torchvision's `ImageClassification` preset does it.

    `resize_size` and `crop_size` are pixels (the short side; the square's side), `mean` and `std` apply to values in 0..1.
    """

    resize_size: int
    crop_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Interpolation = "bilinear"
    antialias: Literal[True] = True
    color: Literal["RGB"] = "RGB"

    def __post_init__(self) -> None:
        if self.resize_size < 1 or self.crop_size < 1:
            raise ManifestError(f"preprocess: resize_size {self.resize_size} and crop_size {self.crop_size} must be at least 1")
        if not all(map(math.isfinite, (*self.mean, *self.std))) or not all(value > 0 for value in self.std):
            raise ManifestError(f"preprocess: mean and std must be finite, and every std above 0; got {list(self.mean)} and {list(self.std)}")


@dataclass(frozen=True, kw_only=True)
class OutputInfo:
    """The graph's output, float32 (batch, classes)."""

    name: str
    kind: Literal["logits", "probabilities"] = "logits"


@dataclass(frozen=True, kw_only=True)
class InputInfo:
    """The graph's input; a string in `shape` names a dimension of any size."""

    name: str
    shape: tuple[str | int, ...]
    dtype: Literal["float32"] = "float32"


@dataclass(frozen=True, kw_only=True)
class Published:
    """What the weights' authors report: accuracies in percent, GFLOPs for one image."""

    acc1: float | None = _json_name("acc@1")
    acc5: float | None = _json_name("acc@5")
    gflops: float | None = None
    dataset: str | None = None


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check of the parity gate: it passes while `figure` does not pass `limit` (docs/parity.md says which way)."""

    name: str
    passed: bool
    figure: float
    limit: float
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The gate's verdict. `max_abs_error` is between PyTorch's and ONNX Runtime's logits."""

    passed: bool
    checks: tuple[Check, ...]
    max_abs_error: float
    images: int


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """The file of weights beside an artifact that is too large for one file."""

    data: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ProducedBy:
    """The versions that made the artifact."""

    torchless: str
    torch: str | None = None
    torchvision: str | None = None
    onnx: str | None = None
    onnxruntime: str | None = None
    exporter: str | None = None
    opset: int | None = None


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All that the runtime needs to know of a model, and all that its user wants to know of its origin."""

    KEY: ClassVar[str] = "torchless.manifest"

    model: ModelInfo
    preprocess: Preprocess
    labels: tuple[str, ...]
    input: InputInfo
    output: OutputInfo
    published: Published | None = None
    parity: Parity | None = None
    precision: Literal["fp32"] = "fp32"
    files: DataFile | None = None
    produced_by: ProducedBy | None = None
    schema_version: int = SCHEMA_VERSION

    @property
    def is_trained(self) -> bool:
        """False for a model with re-initialised weights, whose predictions mean nothing."""
        return self.model.weights is not None

    def to_json(self, *, indent: int | None = None) -> str:
        """The manifest as JSON text, its schema's version first."""
        document = {"schema_version": self.schema_version} | encode(self)
        return json.dumps(document, indent=indent, ensure_ascii=False, allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> "Manifest":
        """Parses and checks a manifest. Unknown fields are ignored, so that fields can be added within a version.

        Raises ManifestVersionError for a newer schema, ManifestError for anything else that is wrong, naming the field.
        """
        document = loads(text, "the manifest")
        if not isinstance(document, dict):
            raise ManifestError("the manifest is not a JSON object")
        _check_version(document.get("schema_version"))
        manifest: Manifest = decode(cls, document, "manifest")
        return manifest


def parse_interpolation(text: str) -> Interpolation:
    """The interpolation of that name, as torchvision's InterpolationMode writes it. Raises UsageError with the names there are."""
    for known in get_args(Interpolation):
        if text.lower() == known:
            return cast(Interpolation, known)
    raise UsageError(f"unknown interpolation {text!r}; it is one of {', '.join(get_args(Interpolation))}")


def _check_version(version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ManifestError(f"schema_version: expected a whole number from 1, got {version!r}")
    if version > SCHEMA_VERSION:
        raise ManifestVersionError(
            f"the manifest has schema version {version}, this torchless reads up to version {SCHEMA_VERSION}; "
            "install a newer torchless: pip install --upgrade torchless"
        )
