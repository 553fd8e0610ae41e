"""The export side's verbs of the program `torchless`."""

import typer

from torchless_export.cli.compare import compare
from torchless_export.cli.export import export
from torchless_export.cli.models import models
from torchless_export.cli.quantize import quantize
from torchless_export.cli.tune import tune
from torchless_export.cli.verify import verify


def register(app: typer.Typer) -> None:
    """Adds the verbs to the program; called through the entry-point group `torchless.commands`."""
    for verb in (export, quantize, tune, verify, compare):
        app.command(no_args_is_help=True)(verb)
    app.command()(models)
