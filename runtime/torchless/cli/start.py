"""The start of the program `infer`: as fast as possible, because for one image the start is most of the work."""

import os
import sys
from pathlib import Path

from torchless.cli.program import check_order, end, importing, run_program


def infer_main() -> None:
    """`infer MODEL IMAGE…`, short for `torchless infer`.

    Without options it needs no parser; importing typer and its dependencies would take a fifth of such a process's
    time.
    """
    model, *images = sys.argv[1:] or [""]
    if images and os.path.isfile(model) and not any(argument.startswith("-") for argument in (model, *images)):
        run_program(lambda: _infer(model, images))
    else:
        with importing():
            from torchless.cli.infer import infer_app

        run_program(infer_app)


def _infer(model: str, images: list[str]) -> None:
    check_order("infer", model, images)
    ahead = None
    with importing():
        if len(images) == 1 and os.path.isfile(images[0]):
            from torchless.cpus import available_cpus
            from torchless.engine.session import SessionAhead
            from torchless.model.onnxfile import read_onnx

            ahead = SessionAhead(read_onnx(model), threads=available_cpus())  # what the plan for one image will choose
        from torchless.batch.options import InferOptions
        from torchless.batch.run import infer
    end(infer(InferOptions(model=Path(model), images=tuple(images)), ahead=ahead))
