"""What an executable file of `torchless bundle` runs: `infer` with the model inside it."""

import sys
from importlib import import_module
from pathlib import Path

from torchless.cli.start import infer_main


def main() -> None:
    """`FILE IMAGE…`, with infer's options; `FILE` alone and `FILE --help` explain them."""
    inside = import_module("torchless_model")
    model = Path(str(inside.__file__)).with_name(inside.NAME)
    arguments = sys.argv[1:] or ["--help"]
    sys.argv[1:] = [str(model), *arguments]
    infer_main()
