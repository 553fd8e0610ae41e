"""What an executable file of `torchless bundle` runs: `infer` with the model inside it."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from torchless.cli.start import infer_main


def main() -> None:
    """`FILE IMAGE…`, with infer's options; `FILE` alone and `FILE --help` explain them."""
    inside = import_module("torchless_model")
    model = Path(str(inside.__file__)).with_name(inside.NAME)
    arguments = sys.argv[1:] or ["--help"]
    sys.argv[1:] = [str(model), *arguments]
    infer_main(_program)


def _program() -> Any:
    """The verb, which does not speak of a MODEL: nobody has to name it."""
    from typer.main import get_command

    from torchless.cli.infer import infer_app

    verb = get_command(infer_app)
    for argument in verb.params:
        argument.hidden = argument.name == "model"  # type: ignore[attr-defined]
    verb.help = (verb.help or "").replace("infer resnet50.onnx", f"./{Path(sys.argv[0]).name}")
    return verb
