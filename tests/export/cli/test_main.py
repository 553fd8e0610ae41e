"""The export verbs in the runtime's command line."""

from tests.runtime.test_package import HEAVY, loaded_after


def test_they_cost_typer_alone() -> None:
    loaded = loaded_after(
        "import torchless.cli.main, torchless.cli.options, torchless.cli.start, torchless_export.cli.main"
    )
    assert loaded & HEAVY == {"typer", "torchless_export"}
