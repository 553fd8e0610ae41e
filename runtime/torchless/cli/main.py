"""The program `torchless`: the runtime's verbs, and those of the export side."""

import typer

from torchless.cli import bench, bundle, doctor, evaluate, image, infer, inspect, repository, serve, sign
from torchless.cli.help import App, new_app
from torchless.cli.options import Version
from torchless.cli.program import run_program
from torchless.heaps import no_search_for_garbage

COMMANDS_GROUP = "torchless.commands"
VERBS = infer, inspect, bench, evaluate, doctor, sign, serve, repository, bundle, image


def main() -> None:
    """The program `torchless`."""
    with no_search_for_garbage():
        app = program()
    run_program(app)


def program() -> App:
    """The runtime's verbs, and those that the export side registers under `torchless.commands`."""
    from importlib.metadata import entry_points

    app = new_app(
        "Export torchvision classifiers to ONNX, prove that the file gives PyTorch's answers, and run it without "
        "PyTorch."
    )
    app.callback(invoke_without_command=True)(_root)
    for verb in VERBS:
        verb.register(app)
    for entry_point in entry_points(group=COMMANDS_GROUP):
        entry_point.load()(app)
    return app


def _root(context: typer.Context, version: Version = False) -> None:  # noqa: ARG001 - its callback prints it
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())
        raise typer.Exit(2)
