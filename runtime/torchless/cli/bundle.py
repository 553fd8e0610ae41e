"""The verb `torchless bundle`: parse, call the library, print."""

from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.options import ModelFile
from torchless.errors import UsageError
from torchless.process import say


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command("bundle", no_args_is_help=True)(bundle_command)


def bundle_command(
    model: ModelFile,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="The executable file to write; by default MODEL.pex, in the current folder.",
            show_default=False,
        ),
    ] = None,
    wheelhouse: Annotated[
        Path | None,
        typer.Option(
            metavar="FOLDER",
            help="Instead: a new folder with the wheels, the model and install.sh, for pip without a registry.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Pack a model with torchless and ONNX Runtime, for machines that have Python and nothing else, not even a network.

    It is for machines like this one: the same system, processor and minor version of Python.

    Examples:
      torchless bundle resnet50.onnx
      python3 resnet50.pex img.jpg
      torchless bundle resnet50.onnx --wheelhouse ship/

    Exit code 0 when it is written, 2 for wrong usage, 3 when the model file is missing or damaged, 1 when pip or
    pex fails.
    """
    from torchless.files import bytes_in
    from torchless.shipping.executable import write_executable
    from torchless.shipping.wheelhouse import write_wheelhouse
    from torchless.text import megabytes

    if output is not None and wheelhouse is not None:
        raise UsageError("--output and --wheelhouse exclude each other: one file, or a folder")
    if wheelhouse is not None:
        write_wheelhouse(model, wheelhouse)
        say(f"{wheelhouse}  {megabytes(bytes_in(wheelhouse))}; there: sh {wheelhouse.name}/install.sh")
        return
    path = output or Path(f"{model.stem}.pex")
    write_executable(model, path)
    say(f"{path}  {megabytes(path.stat().st_size)}; there: python3 {path.name} IMAGE...")
