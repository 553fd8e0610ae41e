"""Runs inputs of one target, one after the other, and tells of each on a line of JSON: a process that may crash, or be
killed.

python -m tests.fuzz.worker TARGET MODEL FOLDER SEED FIRST COUNT
"""

import contextlib
import json
import os
import resource
import signal
import sys
import time
import traceback
import warnings
from pathlib import Path
from random import Random

from torchless.image.decode import take_pillow_over

# On top of what the process has when it begins. An input that asks for more ends in an error that says so, here as
# under any other limit.
ADDRESS_SPACE_BYTES = 4 << 30


def case(target: str, seed: int, number: int) -> Random:
    """The generator of one input."""
    return Random(f"{target} {seed} {number}")


def main() -> None:
    name, model, folder, *numbers = sys.argv[1:]
    seed, first, count = map(int, numbers)
    report = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what native code prints is no report
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    take_pillow_over(1)
    warnings.simplefilter("ignore")

    from tests.fuzz.targets import TARGETS

    target = TARGETS[name](Path(folder).resolve(), Path(model).resolve())
    sys.path.insert(0, str(Path.cwd()))  # for tests.models:tiny
    os.chdir(folder)
    _limit_address_space()
    print(json.dumps({"ready": True}), file=report)
    for number in range(first, first + count):
        data = target.make(case(name, seed, number))
        before, start = _memory(target.pid), time.perf_counter()
        _forget_peak(target.pid)
        try:
            outcome, finding = target.run(data), None
        except BaseException:
            outcome, finding = "finding", traceback.format_exc()
        row = {
            "number": number,
            "outcome": outcome,
            "seconds": time.perf_counter() - start,
            "memory": _memory(target.pid, "VmHWM") - before,
        }
        if finding is None and row["memory"] > target.memory_bytes:
            outcome, finding = "finding", f"it took {row['memory']} bytes"
        print(json.dumps(row | {"outcome": outcome, "finding": finding}), file=report)
    target.close()


def _limit_address_space() -> None:
    limit = _memory(os.getpid(), "VmSize") + ADDRESS_SPACE_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _memory(pid: int, what: str = "VmRSS") -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # it is gone
        return 0
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith(what)), 0)


def _forget_peak(pid: int) -> None:
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/clear_refs").write_text("5")


if __name__ == "__main__":
    main()
