"""The contract between export and runtime: what an artifact says about itself.

The manifest is JSON under the key `torchless.manifest` of the ONNX file's `metadata_props`. docs/manifest.md describes
each field. The field names here are those of the JSON; where JSON has a name that Python cannot have, `_json_name` says
which.
"""

import json
from dataclasses import field
from os import PathLike, fspath
from pathlib import Path
from typing import Any, ClassVar, Literal, cast, get_args

from torchless.codec import decode, encode, loads
from torchless.errors import ArtifactError, ManifestError, ManifestVersionError, UsageError
from torchless.files import reading
from torchless.model.preprocessing import Preprocess, PreprocessChanges
from torchless.model.schema_1 import from_schema_1
from torchless.records import dataclass

SCHEMA_VERSION = 2

Precision = Literal["fp32", "fp16", "int8"]
ParityRule = Literal["float64", "spread", "decisions"]
Activation = Literal["softmax", "sigmoid", "none"]
Assumption = Literal["architecture", "transform", "activation", "labels"]


def _json_name(name: str) -> Any:
    return field(default=None, metadata={"json": name})


@dataclass(frozen=True, kw_only=True)
class ModelInfo:
    """Where the network, its weights and its labels come from: enough for `torchless verify` to build it again.

    `weights` is None for an untrained model. `sha256` is of the file that the weights came from, `state_sha256` of the
    tensors themselves (names, dtypes, shapes and bytes); `checkpoint` and `labels_file` are file names without folders,
    `labels_sha256` is of the latter file. A live module's `weights` name its class. `transform_input` says how
    GoogLeNet or Inception was built for a checkpoint.
    """

    name: str
    source: Literal["torchvision", "timm", "hf", "builder", "module", "unknown"]
    weights: str | None
    num_params: int | None = None
    url: str | None = None
    sha256: str | None = None
    state_sha256: str | None = None
    checkpoint: str | None = None
    checkpoint_key: str | None = None
    builder: str | None = None
    seed: int | None = None
    labels_file: str | None = None
    labels_sha256: str | None = None
    changes: PreprocessChanges | None = None
    transform_input: bool | None = None

    @property
    def argument(self) -> str:
        """The MODEL of `torchless export`: resnet50, or timm:resnet18.a1_in1k."""
        return f"{self.source}:{self.name}" if self.source in ("timm", "hf") else self.name


@dataclass(frozen=True, kw_only=True)
class OutputInfo:
    """The graph's output, float32 (batch, classes); `top_k` is how many best classes it also returns, None if it does
    not.

    `activation` makes probabilities of it: "softmax" where an image has one class of many, "sigmoid" where each class
    is decided by itself (or one output decides between two), "none" where the graph gives probabilities already.
    `thresholds`, one for each label, are the probabilities from which a class counts as present in an image.
    """

    name: str
    activation: Activation = "softmax"
    thresholds: tuple[float, ...] | None = None
    top_k: int | None = None


@dataclass(frozen=True, kw_only=True)
class InputInfo:
    """The graph's input; a string in `shape` names a dimension of any size.

    float32 (batch, channels, height, width) are prepared images. uint8 (height, width, 3) are the pixels of one RGB
    image of any size: the graph itself then does what `preprocess` describes.
    """

    name: str
    shape: tuple[str | int, ...]
    dtype: Literal["float32", "uint8"] = "float32"

    @property
    def takes_pixels(self) -> bool:
        """Whether the preprocessing is in the graph."""
        return self.dtype == "uint8"


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

    @classmethod
    def at_most(cls, name: str, figure: float, limit: float, detail: str) -> "Check":
        """The check that `figure` is at most `limit`; NaN is not."""
        return cls(name=name, passed=figure <= limit, figure=figure, limit=limit, detail=detail)


@dataclass(frozen=True, kw_only=True)
class Metrics:
    """How far ONNX Runtime's logits stand from PyTorch's, over one set of images in batches of one size.

    Errors are absolute differences of logits; `error_of_spread` is the largest as a share of the logits' spread,
    `units` the largest in units of PyTorch's own rounding error on these images (None if that was not measured).
    `kl_divergence` is the largest of any image, in nats; `cosine` the smallest; `top1_agreement` and `top5_overlap` are
    means in 0..1.
    """

    images: str
    batch_size: int
    max_abs_error: float
    p99_abs_error: float
    error_of_spread: float
    own_error: float | None
    units: float | None
    cosine: float
    kl_divergence: float
    top1_agreement: float
    top5_overlap: float


@dataclass(frozen=True, kw_only=True)
class ImageRecord:
    """A test image of the gate: its set, its name, and the SHA-256 of its file (of its RGB pixels if it was
    generated).
    """

    set: str
    name: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Parity:
    """The gate's verdict. `max_abs_error` is between ONNX Runtime's logits and PyTorch's.

    `rule` says what PyTorch's logits were: "float64" (limits are in units of PyTorch's own float32 error), or "spread",
    float32 with limits relative to the logits' spread, and `reason` why. `spread` is the largest minus the smallest of
    PyTorch's logits. "decisions" is the rule for artifacts of a precision below float32: what counts is the share of
    images with the same best class (docs/quantize.md).
    """

    passed: bool
    checks: tuple[Check, ...]
    max_abs_error: float
    images: int
    rule: ParityRule = "float64"
    reason: str | None = None
    spread: float | None = None
    metrics: tuple[Metrics, ...] = ()
    judges: tuple[ImageRecord, ...] = ()

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed."""
        return [check.name for check in self.checks if not check.passed]


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """The file of weights beside an artifact that is too large for one file."""

    data: str
    sha256: str


@dataclass(frozen=True, kw_only=True)
class ImageSet:
    """Some images: how many, and the SHA-256 of the sorted SHA-256 of their files, a line each."""

    images: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Pace:
    """Median time per image in milliseconds, and the file's bytes; `float_…` are those of the float32 artifact beside
    it.
    """

    float_ms: float
    ms: float
    float_bytes: int
    bytes: int
    threads: int
    processor: str


@dataclass(frozen=True, kw_only=True)
class Reduction:
    """How an artifact of a lower precision was made of a float32 one, the file `float_file` of that SHA-256.

    `weight_bits` (int8 only) is 8, or 7 for processors on which sums of 8 bits would overflow; `kept_float` are the
    ONNX nodes left in float32. `calibration` are the images whose activations set the scales, `judged` the gate's test
    images. `pace` was measured at the time.
    """

    float_file: str
    float_sha256: str
    recipe: str
    weight_bits: Literal[7, 8] | None = None
    kept_float: tuple[str, ...] = ()
    calibration: ImageSet | None = None
    judged: ImageSet | None = None
    pace: Pace | None = None


@dataclass(frozen=True, kw_only=True)
class Recommended:
    """What `torchless tune` found fastest for `goal` on `processor`: `ms` for a batch of `batch_size` on `device`.

    Advice only; nothing applies it automatically, because another machine needs other settings.
    """

    goal: Literal["latency", "throughput"]
    threads: int
    batch_size: int
    ms: float
    processor: str
    device: str = "cpu"


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
    """All that the runtime needs to know of a model, and all that its user wants to know of its origin.

    `assumed` is what torchless chose because the exporting user did not say it.
    """

    KEY: ClassVar[str] = "torchless.manifest"

    model: ModelInfo
    preprocess: Preprocess
    labels: tuple[str, ...]
    input: InputInfo
    output: OutputInfo
    published: Published | None = None
    parity: Parity | None = None
    precision: Precision = "fp32"
    reduction: Reduction | None = None
    recommended: Recommended | None = None
    files: DataFile | None = None
    produced_by: ProducedBy | None = None
    assumed: tuple[Assumption, ...] = ()
    schema_version: int = SCHEMA_VERSION

    @property
    def is_trained(self) -> bool:
        """False for a model with re-initialised weights, whose predictions mean nothing."""
        return self.model.weights is not None

    @property
    def image_size(self) -> tuple[int, int]:
        """(height, width) of the images that the network takes. Raises ManifestError where nothing says it."""
        size = self.preprocess.size
        if size is not None:
            return size
        sides = self.input.shape[:2] if self.input.takes_pixels else self.input.shape[2:4]
        match sides:
            case int(height), int(width):
                return height, width
        raise ManifestError("preprocess has no crop and no exact resize, and input.shape does not say the size either")

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
        if document["schema_version"] == 1:
            document = from_schema_1(document)
        manifest: Manifest = decode(cls, document | {"schema_version": SCHEMA_VERSION}, "manifest")
        return manifest


def read_manifest(path: str | PathLike[str]) -> Manifest:
    """The manifest in a JSON file. Raises UsageError for a file that cannot be read, or holds none."""
    try:
        with reading(f"the manifest {fspath(path)}"):
            return Manifest.from_json(Path(path).read_text(encoding="utf-8"))
    except (UnicodeDecodeError, ArtifactError) as error:
        raise UsageError(f"cannot read the manifest {fspath(path)}: {error}") from None


def parse_activation(text: str) -> Activation:
    """The activation of that name. Raises UsageError with the known names."""
    for known in get_args(Activation):
        if text.lower() == known:
            return cast(Activation, known)
    raise UsageError(f"unknown activation {text!r}; it is one of {', '.join(get_args(Activation))}")


def _check_version(version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise ManifestError(f"schema_version: expected a whole number from 1, got {version!r}")
    if version > SCHEMA_VERSION:
        raise ManifestVersionError(
            f"the manifest has schema version {version}, this torchless reads up to version {SCHEMA_VERSION}; "
            "install a newer torchless: pip install --upgrade torchless"
        )
