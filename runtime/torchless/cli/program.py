"""What every program of torchless does around its work: output streams that take any name, errors as one line, an exit
code.

Below the command line, messages name parameters in backticks: `batch_size`. Here they become flags: --batch-size.
"""

import atexit
import gc
import io
import os
import re
import sys
from collections.abc import Callable, Iterable
from errno import ENOMEM
from typing import TYPE_CHECKING, NoReturn

from torchless.errors import MissingDependencyError, TorchlessError, UsageError, first_line
from torchless.process import INTERRUPTED, is_terminal, tell

if TYPE_CHECKING:
    from torchless.batch.outcome import Outcome

_OTHER_FLAGS = {
    "max_gpu_bytes": "--max-gpu-mb",
    "api_keys": "--api-key-file",
    "apply_exif": "--exif",
    "cors_origins": "--cors-origin",
    "allowed_hosts": "--allowed-host",
    "trusted_proxies": "--trusted-proxy",
    "max_bodies_bytes": "--max-bodies-mb",
    "max_body_bytes": "--max-body-mb",
    "max_pixels": "--max-megapixels",
}


def run_program(work: Callable[[], object]) -> None:
    """Runs `work`, and ends the process if it fails: an error meant for the user becomes one line on stderr, with flags
    instead of parameters, and its exit code.
    """
    # At its end Python looks for garbage in all that is still there, though all of it goes: a tenth of a short process.
    atexit.register(gc.freeze)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # for names that are not UTF-8, or a terminal that is not
            stream.reconfigure(errors="backslashreplace")
    try:
        work()
    except TorchlessError as error:
        tell(f"error: {as_flags(str(error))}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        tell("interrupted")
        sys.exit(INTERRUPTED)
    except BrokenPipeError:  # `| head` has seen enough
        os._exit(1)
    except ImportError as error:  # what is missing has its own error; this is there, and cannot be loaded
        tell(f"error: a package cannot be loaded: {first_line(error)}; see: torchless doctor, ulimit -v")
        sys.exit(MissingDependencyError.exit_code)
    except (OSError, MemoryError, RuntimeError) as error:
        if lacks_memory(error):
            tell(f"error: there is not enough memory ({first_line(error)}); see: ulimit -v")
            os._exit(1)  # not sys.exit, which may need some
        if not isinstance(error, OSError):
            raise
        # files have their own errors; the rest is standard output on a full disk
        tell(f"error: cannot write the results: {error.strerror or error}")
        os._exit(1)  # not sys.exit: Python would try to write the rest again, and print an error


def lacks_memory(error: Exception) -> bool:
    """Whether the system refused memory, or a thread's stack: Python, torch and C++ each say it in their own words."""
    said = ("can't allocate memory", "can't start new thread", "std::bad_alloc", "failed to allocate memory")
    return (
        isinstance(error, MemoryError)
        or getattr(error, "errno", 0) == ENOMEM
        or any(words in str(error).lower() for words in said)
    )


def end(outcome: "Outcome", *, noun: str = "images", hint: str = "", failures_printed: bool = False) -> NoReturn:
    """Says how a run ended, and ends the process: what was passed over, which images failed, how much is done; or what
    an interrupted run leaves (Outcome.interruption). `failures_printed` says that standard output names them too.
    """
    for line in outcome.notes:
        tell(as_flags(line))
    if outcome.interrupted:
        tell(as_flags(outcome.interruption(noun, hint)))
    else:
        _tell_end(outcome, noun, failures_printed)
    sys.exit(outcome.exit_code)


def _tell_end(outcome: "Outcome", noun: str, failures_printed: bool) -> None:
    is_one_answer = outcome.rows == 1 and outcome.output is None
    if not (outcome.shown or (failures_printed and is_terminal(sys.stdout))):  # there they are seen already
        for line in outcome.failure_lines():
            tell(line)
    if not is_one_answer:
        tell(outcome.summary(noun))


def check_order(verb: str, model: object, others: Iterable[object]) -> None:
    """Raises UsageError where the model is among what should follow it."""
    first, second = str(model), next((str(each) for each in others if str(each).endswith(".onnx")), None)
    if second is not None and not first.endswith(".onnx"):
        import shlex

        raise UsageError(f"the model comes first: {shlex.join([*verb.split(), second, first])}")


def as_flags(message: str) -> str:
    """A message of the library with flags of the command line instead of the parameters that it names in backticks."""
    return re.sub(r"`([a-z]\w*)`", lambda match: flag_of(match[1]), message)


def flag_of(parameter: str) -> str:
    """The flag for a parameter of the library: batch_size → --batch-size."""
    return _OTHER_FLAGS.get(parameter) or f"--{parameter.replace('_', '-')}"
