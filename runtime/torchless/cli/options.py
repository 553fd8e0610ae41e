"""What several verbs share: their options, each described once, how their values are read, and how JSON is printed."""

from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from torchless.cli.program import flag_of
from torchless.engine.options import ModelOptions
from torchless.errors import UsageError
from torchless.image.options import ImageOptions
from torchless.model.artifact import FileDescription

MAX_MEGAPIXELS = ImageOptions.max_pixels / 1e6
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_WITHOUT_MANIFEST: dict[str, Any] = {"rich_help_panel": "For a file without a manifest", "show_default": False}
ENGINE_PANEL = "Many machines (docs/scaling.md)"


def new_app(help: str | None = None) -> typer.Typer:
    return typer.Typer(help=help, add_completion=False, pretty_exceptions_enable=False, context_settings=_SETTINGS)


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


ModelFile = Annotated[Path, typer.Argument(help="The exported .onnx file.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]

# How a model is opened.
Device = Annotated[
    str, typer.Option("--device", "-d", help="auto, cpu, cuda or cuda:N. auto uses the GPU if possible.")
]
Threads = Annotated[
    int | None,
    typer.Option(
        min=1, help="Threads per forward pass; by default all processors for one image, 1 for many.", show_default=False
    ),
]
Labels = Annotated[
    Path | None,
    typer.Option(help="A text file with one label per line, instead of the model's own.", show_default=False),
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
ResizeSize = Annotated[
    int | None, typer.Option(min=1, help="The short side to resize to, in pixels.", **_WITHOUT_MANIFEST)
]
CropSize = Annotated[
    int | None,
    typer.Option(min=1, help="The side of the centre crop, in pixels; by default the graph's.", **_WITHOUT_MANIFEST),
]
Mean = Annotated[
    str | None, typer.Option(help="Of red, green and blue, from 0 to 1: 0.485,0.456,0.406.", **_WITHOUT_MANIFEST)
]
Std = Annotated[
    str | None, typer.Option(help="Of red, green and blue, from 0 to 1: 0.229,0.224,0.225.", **_WITHOUT_MANIFEST)
]
Interpolation = Annotated[
    str | None, typer.Option(help="bilinear, bicubic, …; by default bilinear.", **_WITHOUT_MANIFEST)
]

# How images are read.
Exif = Annotated[
    bool,
    typer.Option(
        "--exif/--no-exif", help="Turn photos upright by their EXIF orientation; PyTorch's usual loaders do not."
    ),
]
DecodeOption = Annotated[
    Decode | None,
    typer.Option(
        "--decode",
        help="exact is bit for bit as in torchvision; fast decodes large JPEGs at a smaller size, several times "
        "as fast (docs/images.md).",
        show_default="exact",
    ),
]
MaxMegapixels = Annotated[
    float, typer.Option(min=0.000001, max=1e6, help="Refuse images with more pixels than this, decoded or resized.")
]

# How many images are run through it.
TopK = Annotated[int, typer.Option("--top-k", "-k", min=1, help="How many classes to show for each image.")]
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

EngineOption = Annotated[
    Engine | None,
    typer.Option(
        "--engine",
        help="ray uses a Ray cluster, with --workers processes in total (docs/scaling.md).",
        rich_help_panel=ENGINE_PANEL,
        show_default="local",
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


def print_json(document: object) -> None:
    """Prints the JSON of `--json` on stdout. `document` is what json.dumps takes; infinities and NaNs, which JSON
    lacks, become null.
    """
    import json

    from torchless.codec import finite

    typer.echo(json.dumps(finite(document), indent=2, ensure_ascii=False, allow_nan=False))


@dataclass(frozen=True, kw_only=True)
class ModelFlags:
    """The values of the options that say how a model is opened, by their names."""

    device: str = ModelOptions.device
    threads: int | None = None
    labels: Path | None = None
    exif: bool = ImageOptions.apply_exif
    decode: Decode | None = None
    max_megapixels: float = MAX_MEGAPIXELS
    require_signature: Path | None = None
    manifest: Path | None = None
    resize_size: int | None = None
    crop_size: int | None = None
    mean: str | None = None
    std: str | None = None
    interpolation: str | None = None

    def parse(self) -> ModelOptions:
        """The parsed values; named files are read. Raises UsageError."""
        from torchless.model.labels import read_labels
        from torchless.model.manifest import parse_interpolation, read_manifest

        return ModelOptions(
            device=self.device,
            threads=self.threads,
            labels=read_labels(self.labels) if self.labels is not None else None,
            manifest=read_manifest(self.manifest) if self.manifest is not None else None,
            description=FileDescription(
                resize_size=self.resize_size,
                crop_size=self.crop_size,
                mean=three_numbers("--mean", self.mean),
                std=three_numbers("--std", self.std),
                interpolation=parse_interpolation(self.interpolation) if self.interpolation is not None else None,
            ),
            image_options=ImageOptions(
                apply_exif=self.exif,
                max_pixels=int(self.max_megapixels * 1e6),
                decode=self.decode.value if self.decode is not None else ImageOptions.decode,
            ),
            require_signature=_public_key(self.require_signature) if self.require_signature is not None else None,
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
            for word in (["--no-exif"] if name == "exif" else [flag_of(name), str(value)])
        ]


def _public_key(path: Path) -> bytes:
    """Read only once, so that replacing the file later does not change the key."""
    from torchless.model.signing import public_key, read_key

    content = read_key(path)
    public_key(content)
    return content


def three_numbers(flag: str, text: str | None) -> tuple[float, float, float] | None:
    """The value of a flag that takes one number per colour. Raises UsageError, which names the flag."""
    if text is None:
        return None
    try:
        red, green, blue = (float(part) for part in text.replace(",", " ").split())
    except ValueError:
        raise UsageError(f"{flag} takes three numbers, such as 0.485,0.456,0.406; got {text!r}") from None
    return red, green, blue
