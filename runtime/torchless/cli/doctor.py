"""The verb `torchless doctor`: parse, call the library, print."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from torchless.cli.by_name import BY_NAME
from torchless.cli.options import (
    Activation,
    AsJson,
    Channels,
    Crop,
    Interpolation,
    Labels,
    ManifestFile,
    Mean,
    ModelFlags,
    RequireSignature,
    Resize,
    Std,
    print_json,
)
from torchless.cli.program import as_flags
from torchless.process import say


def doctor(
    model: Annotated[
        Path | None,
        typer.Argument(
            help="An exported .onnx file to look at too, or where it is: https://…, hf:OWNER/REPO, … (docs/names.md); "
            "it is run once.",
            show_default=False,
        ),
        BY_NAME,
    ] = None,
    labels: Labels = None,
    require_signature: RequireSignature = None,
    manifest: ManifestFile = None,
    resize: Resize = None,
    crop: Crop = None,
    channels: Channels = None,
    mean: Mean = None,
    std: Std = None,
    interpolation: Interpolation = None,
    activation: Activation = None,
    as_json: AsJson = False,
) -> None:
    """Say what is wrong with this installation, or with a model file, and give for each problem the command that fixes
    it.

    It looks for two ONNX Runtimes in one environment, damaged packages, a GPU that is listed but cannot be used,
    missing CUDA libraries, Pillow without formats or libjpeg-turbo, and more threads than processors; and with MODEL
    whether it can be run here, with its data file, and is still what was proved. It changes nothing.

    Exit code 0 only when everything is fine, otherwise that of the first problem: 1 for what works, but not as it
    should; 2 for a missing, duplicate or damaged package; 3 for the model file; 4 for the GPU;
    5 for a model that does not give PyTorch's answers here.
    """
    from torchless.doctor.examination import examination_dict, examination_text, examine, exit_code

    flags = ModelFlags(
        labels=labels,
        require_signature=require_signature,
        manifest=manifest,
        resize=resize,
        crop=crop,
        channels=channels,
        mean=mean,
        std=std,
        interpolation=interpolation,
        activation=activation,
    )
    findings = [replace(finding, message=as_flags(finding.message)) for finding in examine(model, flags.parse())]
    if as_json:
        print_json(examination_dict(findings))
    else:
        say(examination_text(findings))
    raise typer.Exit(exit_code(findings))


def register(app: typer.Typer) -> None:
    """Adds the verb to the program `torchless`."""
    app.command()(doctor)
