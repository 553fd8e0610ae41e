"""The Ray cluster: a running one, or one on this machine for as long as the program runs."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torchless.errors import UsageError, extra, first_line
from torchless.ray.folders import remove_abandoned

_LOCAL = "local"
_OBJECT_STORE_BYTES = 256 << 20  # of a cluster of our own: a few shards and results, besides the model


def import_ray(address: str | None = None) -> Any:
    """The module ray. Raises MissingDependencyError, which names the extra.

    Processes of a cluster of our own then listen on 127.0.0.1 alone, as on macOS and Windows; Ray reads that when
    it is imported, and they inherit it.
    """
    if _where(address) == _LOCAL:
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    with extra("ray", "Ray"):
        import ray
    return ray


@contextmanager
def cluster(address: str | None, *, cpus: int, model_bytes: int) -> Iterator[Any]:
    """The module ray, connected to `address`, otherwise to RAY_ADDRESS, otherwise to a cluster on this machine that
    ends with the block.

    Our own cluster grants `cpus` processors: a number that Ray counts with, not a limit. A program that is already
    connected stays connected. Raises MissingDependencyError, or UsageError if nobody answers.
    """
    ray = import_ray(address)
    if ray.is_initialized():
        yield ray
        return
    where = _where(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray sends usage statistics
    os.environ.setdefault(
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"
    )  # the default of its next version; otherwise it warns
    own: dict[str, Any] = {
        "num_cpus": cpus,
        "include_dashboard": False,
        "object_store_memory": _OBJECT_STORE_BYTES + 2 * model_bytes,
    }
    try:
        ray.init(where, log_to_driver=False, logging_level=logging.ERROR, **(own if where == _LOCAL else {}))
    except Exception as error:  # ConnectionError, ValueError, RuntimeError, by what is wrong
        raise UsageError(f"cannot use the Ray cluster at {where}: {first_line(error)}") from error
    try:
        yield ray
    finally:
        ray.shutdown()
        remove_abandoned()  # of workers that it ended while they loaded the model


def is_own(address: str | None) -> bool:
    """Whether `cluster` would start one on this machine."""
    return not import_ray(address).is_initialized() and _where(address) == _LOCAL


def _where(address: str | None) -> str:
    return address or os.environ.get("RAY_ADDRESS") or _LOCAL
