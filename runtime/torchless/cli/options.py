"""What several verbs share: their options, each described once, how their values are read, and how JSON is printed."""

from collections.abc import Callable
from dataclasses import fields, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from torchless.cli.by_name import BY_NAME
from torchless.cli.program import flag_of
from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.image.options import ImageOptions, parse_value_range
from torchless.model.artifact import FileDescription
from torchless.records import dataclass

if TYPE_CHECKING:
    from torchless.model.onnxfile import OnnxFile

_LEAST_MEGAPIXELS, _MOST_MEGAPIXELS = 1e-6, 1e6
MAX_MEGAPIXELS = ImageOptions.max_pixels / 1e6
MAX_IMAGE_MB = ImageOptions.max_bytes / 1e6
Given = TypeVar("Given")
Parsed = TypeVar("Parsed")
_WITHOUT_MANIFEST: dict[str, Any] = {"rich_help_panel": "For a file without a manifest", "show_default": False}
IMAGES_PANEL = "How images are read (docs/images.md)"
ENGINE_PANEL = "Many machines (docs/scaling.md)"


class Decode(StrEnum):
    """--decode: image.decode.Decode as the command line takes it. The oldest typer takes no enum member as a
    default.
    """

    EXACT = "exact"
    FAST = "fast"


class Engine(StrEnum):
    """--engine of `infer` and `serve`."""

    LOCAL = "local"
    RAY = "ray"


ModelFile = Annotated[
    Path,
    typer.Argument(
        help="The exported .onnx file, or where it is: https://…, hf:OWNER/REPO, s3://… (docs/names.md).",
        show_default=False,
    ),
    BY_NAME,
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# How a model is opened.
Device = Annotated[
    str,
    typer.Option(
        "--device",
        "-d",
        help="auto (an NVIDIA GPU if possible), cpu, cuda, cuda:1, openvino, tensorrt, coreml, directml or migraphx "
        "(docs/devices.md).",
    ),
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads per forward pass; by default all processors for one image, 1 for many.", show_default=False
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(
        help="A file of labels, instead of the model's own: a name a line, JSON, CSV, … (docs/labels.md).",
        show_default=False,
    ),
]
RequireSignature = Annotated[
    Path | None,
    typer.Option(
        "--require-signature",
        metavar="KEY",
        help="Refuse a model that is not signed with this public key, or was altered afterwards (torchless sign).",
        show_default=False,
    ),
]
ManifestFile = Annotated[
    Path | None, typer.Option("--manifest", help="A JSON file with a manifest.", **_WITHOUT_MANIFEST)
]
RESIZE_HELP = "256 (short side), 224x224 (exactly height x width), long:256 (long side) or none."
CROP_HELP = "The centre crop: 224, 224x320 (height x width) or none."
CHANNELS_HELP = "1 for a network that takes grey images, otherwise 3."
MEAN_HELP = "One number per channel, for values from 0 to 1: 0.485,0.456,0.406."
STD_HELP = "One number per channel, for values from 0 to 1: 0.229,0.224,0.225."
ACTIVATION_HELP = (
    "What makes probabilities of the output: softmax (one class per image), sigmoid (each class by itself, or one "
    "output for two classes) or none (it gives probabilities)."
)
Resize = Annotated[str | None, typer.Option(help=RESIZE_HELP, **_WITHOUT_MANIFEST)]
Crop = Annotated[str | None, typer.Option(help=f"{CROP_HELP} By default the graph's size.", **_WITHOUT_MANIFEST)]
Channels = Annotated[int | None, typer.Option(help=f"{CHANNELS_HELP} By default the graph's.", **_WITHOUT_MANIFEST)]
Mean = Annotated[str | None, typer.Option(help=MEAN_HELP, **_WITHOUT_MANIFEST)]
Std = Annotated[str | None, typer.Option(help=STD_HELP, **_WITHOUT_MANIFEST)]
Interpolation = Annotated[
    str | None, typer.Option(help="bilinear, bicubic, …; by default bilinear.", **_WITHOUT_MANIFEST)
]
Activation = Annotated[str | None, typer.Option(help=f"{ACTIVATION_HELP} By default softmax.", **_WITHOUT_MANIFEST)]

# How images are read.
Exif = Annotated[
    bool,
    typer.Option(
        "--exif/--no-exif",
        help="Turn photos upright by their EXIF orientation; PyTorch's usual loaders do not.",
        rich_help_panel=IMAGES_PANEL,
    ),
]
DecodeOption = Annotated[
    Decode | None,
    typer.Option(
        "--decode",
        help="exact (the default) is bit for bit as in torchvision; fast decodes large JPEGs at a smaller size, "
        "several times as fast; the extra fast makes it faster.",
        rich_help_panel=IMAGES_PANEL,
        show_default=False,
    ),
]
MaxMegapixels = Annotated[
    float,
    typer.Option(help="Refuse images with more pixels than this, decoded or resized.", rich_help_panel=IMAGES_PANEL),
]

Truncated = Annotated[
    bool,
    typer.Option(
        "--truncated",
        help="Read files that end early as far as they go, with a warning in their row.",
        rich_help_panel=IMAGES_PANEL,
    ),
]
ValueRange = Annotated[
    str | None,
    typer.Option(
        metavar="BLACK:WHITE",
        help="What is black and white in images of 16 or 32 bits, or of floats: 0:4095 for 12 bits; by default the "
        "type's range.",
        rich_help_panel=IMAGES_PANEL,
        show_default=False,
    ),
]
Background = Annotated[
    str | None,
    typer.Option(
        metavar="COLOUR",
        help="What is behind transparency, such as white or #ffcc00; by default it is dropped, as in PyTorch.",
        rich_help_panel=IMAGES_PANEL,
        show_default=False,
    ),
]

# How much is read.
MaxImageMb = Annotated[
    float,
    typer.Option(min=0.000001, max=1e6, help="Refuse image files of more MB than this, in archives and at URLs too."),
]
MaxExpansion = Annotated[
    float,
    typer.Option(
        min=1, max=1e9, help="Stop at an archive that unpacks to more than 1 GB and to this many times its own size."
    ),
]
Timeout = Annotated[
    float, typer.Option(min=0.001, max=1e6, help="Give an image up when its server is silent for so many seconds.")
]


def with_max_image(opening: ModelOptions, max_image_mb: float) -> ModelOptions:
    """`opening` with a limit on the size of image files."""
    return replace(opening, image_options=replace(opening.image_options, max_bytes=round(max_image_mb * 1e6)))


# How its output is read, and how many images are run through it.
Threshold = Annotated[
    float | None,
    typer.Option(
        help="Multi-label models: the probability from which a class counts as present, instead of the model's own.",
        show_default=False,
    ),
]
TopK = Annotated[
    int | None,
    typer.Option(
        "--top-k",
        "-k",
        min=1,
        help="At most this many classes for each image; by default 5, of a multi-label model all that are present.",
        show_default=False,
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Images worked on at once, each by one thread; by default one per processor (docs/many-images.md).",
        show_default=False,
    ),
]
BatchSize = Annotated[
    int,
    typer.Option(
        "--batch-size",
        "-b",
        min=1,
        help="Images that each worker runs through the model at once; 1 is best on most CPUs.",
    ),
]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Continue where an interrupted run with the same --output stopped, or start if there was none."
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict", help="A row with an error, too, for each file in a folder or archive that is no image by its name."
    ),
]

EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        help="local (the default), or ray: a Ray cluster, with --workers processes in total.",
        rich_help_panel=ENGINE_PANEL,
        show_default=False,
    ),
]
Address = Annotated[
    str | None,
    typer.Option(
        help="A running Ray cluster, as HOST:6379 or auto; by default RAY_ADDRESS, otherwise only this machine.",
        rich_help_panel=ENGINE_PANEL,
        show_default=False,
    ),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        from torchless import __version__

        typer.echo(f"torchless {__version__}")
        raise typer.Exit


Version = Annotated[
    bool,
    typer.Option("--version", metavar="", is_eager=True, callback=_print_version, help="Print the version and exit."),
]


def print_json(document: object) -> None:
    """Prints the JSON of `--json` on stdout. `document` is what json.dumps takes; infinities and NaNs, which JSON
    lacks, become null.
    """
    import json

    from torchless.codec import finite
    from torchless.text import without_controls

    text = json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False)
    typer.echo("\n".join(map(without_controls, text.split("\n"))))


def placed(file: "OnnxFile", device: str) -> dict[str, str]:
    """Loads a model on a device: which one is `used`, and how many of its `nodes` run there. Raises DeviceError."""
    from torchless.engine.session import open_session

    session = open_session(file, device=device)
    nodes = str(session.assignment) if session.assignment is not None else session.note or "all nodes"
    return {"used": session.device, "nodes": nodes}


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """The values of the options that say how a model is opened, by their names."""

    device: str = ModelOptions.device
    threads: int | None = None
    labels: Path | None = None
    exif: bool = ImageOptions.apply_exif
    decode: Decode | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    truncated: bool = ImageOptions.truncated
    value_range: str | None = None
    background: str | None = None
    threshold: float | None = None
    require_signature: Path | None = None
    max_gpu_mb: float | None = None
    manifest: Path | None = None
    resize: str | None = None
    crop: str | None = None
    channels: int | None = None
    mean: str | None = None
    std: str | None = None
    interpolation: str | None = None
    activation: str | None = None

    def parse(self) -> ModelOptions:
        """The parsed values; named files are read. Raises UsageError."""
        from torchless.model.labels import read_labels
        from torchless.model.manifest import parse_activation, read_manifest
        from torchless.model.preprocessing import parse_channels, parse_crop, parse_interpolation, parse_resize

        return ModelOptions(
            device=self.device,
            threads=self.threads,
            labels=read_labels(self.labels) if self.labels is not None else None,
            manifest=read_manifest(self.manifest) if self.manifest is not None else None,
            description=FileDescription(
                resize=parsed(parse_resize, self.resize),
                crop=parsed(parse_crop, self.crop),
                channels=parsed(parse_channels, self.channels),
                mean=numbers("--mean", self.mean),
                std=numbers("--std", self.std),
                interpolation=parsed(parse_interpolation, self.interpolation),
                activation=parsed(parse_activation, self.activation),
            ),
            image_options=ImageOptions(
                apply_exif=self.exif,
                max_pixels=_pixels(self.max_megapixels),
                decode=self.decode.value if self.decode is not None else ImageOptions.decode,
                truncated=self.truncated,
                value_range=parsed(parse_value_range, self.value_range),
                background=self.background,
            ),
            threshold=self.threshold,
            require_signature=_public_key(self.require_signature) if self.require_signature is not None else None,
            max_gpu_bytes=int(self.max_gpu_mb * 1e6) if self.max_gpu_mb is not None else None,
        )

    def words(self) -> list[str]:
        """The same as arguments of a command line."""
        given = {
            field.name: getattr(self, field.name)
            for field in fields(self)
            if getattr(self, field.name) != field.default
        }
        return [
            word
            for name, value in given.items()
            for word in (["--no-exif"] if name == "exif" else [flag_of(name), *([] if value is True else [str(value)])])
        ]


def _pixels(megapixels: float) -> int:
    if not _LEAST_MEGAPIXELS <= megapixels <= _MOST_MEGAPIXELS:
        raise UsageError(
            f"--max-megapixels is a number from 0.000001, which is one pixel, to 1000000; got {megapixels}"
        )
    return int(megapixels * 1e6)


def _public_key(path: Path) -> bytes:
    """Read only once, so that replacing the file later does not change the key."""
    from torchless.model.signing import public_key, read_key

    content = read_key(path)
    public_key(content)
    return content


def parsed(parse: Callable[[Given], Parsed], value: Given | None) -> Parsed | None:
    """`parse` of an option's value; None for an option that was not given."""
    return None if value is None else parse(value)


def numbers(flag: str, text: str | None) -> tuple[float, ...] | None:
    """The value of a flag that takes one number per channel. Raises UsageError, which names the flag."""
    if text is None:
        return None
    try:
        values = tuple(float(part) for part in text.replace(",", " ").split())
    except ValueError:
        values = ()
    if len(values) not in (1, 3):
        raise UsageError(f"{flag} takes one number per channel, such as 0.485,0.456,0.406; got {text!r}")
    return values
