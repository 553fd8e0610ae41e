"""`builder`: a function of the user's, package.module:function, that makes the network."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import nn

from torchless.errors import TorchlessError, UsageError, first_line
from torchless_export.sources.ahead import check_builder


def call_builder(builder: str) -> tuple[nn.Module, Any, Any]:
    """What the function `builder` returns: the network, its preprocessing or transform, and its labels.

    Raises UsageError for a function that is not there, fails, or returns something else.
    """
    function = _find(builder)
    try:
        made = function()
    except TorchlessError:
        raise
    except (Exception, SystemExit) as error:  # it is the user's code
        raise UsageError(f"builder {builder} failed with {type(error).__name__}: {first_line(error)}") from error
    if not isinstance(made, tuple) or len(made) != 3 or not isinstance(made[0], nn.Module):
        raise UsageError(f"builder {builder} must return (torch.nn.Module, preprocessing, labels)")
    if not isinstance(made[2], list | tuple) or not all(isinstance(label, str) for label in made[2]):
        raise UsageError(f"builder {builder} must return its labels as a list or tuple of strings")
    return made


def _find(builder: str) -> Callable[[], Any]:
    check_builder(builder)
    module_name, _, function_name = builder.partition(":")
    if (here := str(Path.cwd())) not in sys.path:  # a script's path has the script's folder, not the current one
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (Exception, SystemExit) as error:  # not found, or whatever the user's module raises when it is imported
        raise UsageError(
            f"cannot find builder {builder}: {first_line(error)} (looked in {here} and the installed packages)"
        ) from error
    if not callable(function):
        raise UsageError(f"builder {builder} is not a function")
    found: Callable[[], Any] = function
    return found
