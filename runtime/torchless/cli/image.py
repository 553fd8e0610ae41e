"""The verb `torchless image`: parse, call the library, print."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.options import ModelFile
from torchless.process import say


class Platform(StrEnum):
    """The values of --platform."""

    AMD64 = "linux/amd64"
    ARM64 = "linux/arm64"


def image(
    model: ModelFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="The new folder; by default MODEL-image, in the current one.",
            show_default=False,
        ),
    ] = None,
    platform: Annotated[
        Platform | None,
        typer.Option(help="What the image is for; by default this machine's processor.", show_default=False),
    ] = None,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="For an NVIDIA GPU: CUDA comes from a registry while the image is built.")
    ] = False,
) -> None:
    """Write the folder from which Docker or Podman builds a container image that serves a model.

    It has the model with its signature, a Containerfile, the wheels in the versions installed here, and examples for
    compose and Kubernetes.

    Examples:
      torchless image resnet50.onnx
      docker build --tag resnet50 resnet50-image

    Exit code 0 when it is written, 2 for wrong usage, 3 when the model file is missing or damaged, 1 when pip fails.
    """
    from torchless.files import bytes_in
    from torchless.shipping.container import image_name, write_build_folder
    from torchless.text import megabytes

    folder = output or Path(f"{model.stem}-image")
    write_build_folder(model, folder, platform=platform.value if platform is not None else None, gpu=gpu)
    say(f"{folder}  {megabytes(bytes_in(folder))}; build it: docker build --tag {image_name(model)} {folder}")


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command(no_args_is_help=True)(image)
