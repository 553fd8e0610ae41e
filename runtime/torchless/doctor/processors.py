"""Whether threads outnumber the processors that this process may use: torchless does not, other libraries might."""

import os
from collections.abc import Iterator
from importlib.util import find_spec

from torchless.cpus import affinity, available_cpus
from torchless.doctor.findings import Finding

# Read by PyTorch and OpenMP, by numpy's OpenBLAS, and by MKL.
_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def processor_findings() -> Iterator[Finding]:
    """A finding per variable that asks for too many, or for a quota that PyTorch does not see; else how many there
    are.
    """
    cpus, there = available_cpus(), os.cpu_count() or 1
    asked = {name: count for name in _VARIABLES if (count := _number(os.environ.get(name, ""))) > cpus}
    for name, count in asked.items():
        message = (
            f"{name} asks for {count} threads, but this process may use {cpus} of the machine's {there} processors"
        )
        yield Finding(check="processors", message=message, fix=f"export {name}={cpus}", exit_code=1)
    if (
        not asked
        and (seen := affinity()) > cpus
        and not os.environ.get("OMP_NUM_THREADS")
        and find_spec("torch") is not None
    ):
        message = (
            f"the container's quota is {cpus} of {seen} processors, which PyTorch does not know: it would "
            f"export with {seen} threads"
        )
        yield Finding(check="processors", message=message, fix=f"export OMP_NUM_THREADS={cpus}", exit_code=1)
    elif not asked:
        yield Finding(
            check="processors",
            message=f"{cpus}" if cpus == there else f"{cpus} of the machine's {there}: all that this process may use",
        )


def _number(text: str) -> int:
    """OpenMP takes a list, one number for each level of nesting."""
    first = text.split(",", maxsplit=1)[0].strip()
    return int(first) if first.isascii() and first.isdigit() else 0
