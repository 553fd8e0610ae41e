"""The program `torchless`: the runtime's verbs, and those of the export side."""

from typing import Annotated

import typer

from torchless.cli import bench, bundle, doctor, evaluate, infer, inspect, repository, serve, sign
from torchless.cli.options import new_app
from torchless.cli.program import run_program

COMMANDS_GROUP = "torchless.commands"
VERBS = infer, inspect, bench, evaluate, doctor, sign, serve, repository, bundle

app = new_app(
    "Export torchvision classifiers to ONNX, prove that the file gives PyTorch's answers, and run it without PyTorch."
)


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    if version:
        from torchless import __version__

        typer.echo(f"torchless {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)


def main() -> None:
    """The program `torchless`: the runtime's verbs, and those that the export side registers under
    `torchless.commands`.
    """
    from importlib.metadata import entry_points

    for verb in VERBS:
        verb.register(app)
    for entry_point in entry_points(group=COMMANDS_GROUP):
        entry_point.load()(app)
    run_program(app)
