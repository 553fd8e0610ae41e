"""The start of the program `infer`: as fast as possible, because for one image the start is most of the work.

The options that most runs have are read here. Importing typer and its dependencies would take a fifth of the time of
one image, and 14 MB of memory; it reads all others, and says what is wrong with any.
"""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torchless.cli.program import check_order, end, run_program
from torchless.heaps import no_search_for_garbage

_VALUED = {"--output": "output", "-o": "output", "--decode": "decode"}
_SWITCHES = {"--recursive": "recursive", "-r": "recursive", "--resume": "resume"}
_DECODES = "exact", "fast"

Plain = tuple[list[str], dict[str, Any]]


def _program() -> Any:
    from torchless.cli.infer import infer_app

    return infer_app


def infer_main(program: Callable[[], Any] = _program) -> None:
    """`infer MODEL IMAGE…`, short for `torchless infer`. `program` gives what reads all command lines but the plain."""
    plain = _plain(sys.argv[1:])
    if plain is not None and len(plain[0]) > 1 and os.path.isfile(plain[0][0]):
        (model, *images), options = plain
        run_program(lambda: _infer(model, images, options))
    else:
        with no_search_for_garbage():
            verb = program()
        run_program(verb)


def _plain(arguments: list[str]) -> Plain | None:
    """The arguments and options of a command line that needs no parser, otherwise None."""
    given, options, words = list[str](), dict[str, Any](), iter(arguments)
    for word in words:
        if not word.startswith("-"):
            given.append(word)
            continue
        name = _VALUED.get(word) or _SWITCHES.get(word)
        value = next(words, "") if word in _VALUED else "yes"
        if name is None or name in options or not value or value.startswith("-"):
            return None
        options[name] = value
    return (given, options) if options.get("decode", "exact") in _DECODES else None


def _infer(model: str, images: list[str], options: dict[str, Any]) -> None:
    check_order("infer", model, images)
    output = Path(options["output"]) if "output" in options else None
    if output is not None:
        from torchless.cli.replacing import check_outputs

        check_outputs({"model": model, "images": images, "output": output})
    ahead = None
    with no_search_for_garbage():
        if len(images) == 1 and os.path.isfile(images[0]):
            from torchless.cpus import available_cpus
            from torchless.engine.session import SessionAhead
            from torchless.heaps import grow_in_large_pieces
            from torchless.model.onnxfile import read_onnx

            grow_in_large_pieces()
            ahead = SessionAhead(read_onnx(model), threads=available_cpus())  # what the plan for one image will choose
        from torchless.batch.options import InferOptions
        from torchless.batch.run import infer
        from torchless.engine.options import ModelOptions
        from torchless.image.options import ImageOptions

    end(
        infer(
            InferOptions(
                model=Path(model),
                images=tuple(images),
                output=output,
                recursive="recursive" in options,
                resume="resume" in options,
                opening=ModelOptions(image_options=ImageOptions(decode=options.get("decode", "exact"))),
            ),
            ahead=ahead,
        )
    )
