"""What test_beside.py has run in a process of its own, since pytest's must not fork: each case prints its name when it
went well.

    python -m tests.export.gate.beside_cases OUTPUT THREADS
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from torchless_export import export
from torchless_export.gate import beside as module
from torchless_export.gate.beside import beside, can_fork
from torchless_export.gate.oracle import Oracle
from torchless_export.sources.request import ModelRequest

HERE = os.getpid()
FORK = patch.object(module, "can_fork", lambda: True)


def whose() -> np.ndarray:
    """The process that does it; longer than a pipe holds."""
    return np.full(50_000, os.getpid())


class Hangs:
    """A piece that never ends in a fork. Others can wait until one is at it."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()

    def __call__(self) -> np.ndarray:
        if os.getpid() != HERE:
            os.write(self._write, b"x")
            signal.pause()
        return whose()

    def wait(self) -> None:
        os.read(self._read, 1)


def dies() -> np.ndarray:
    if os.getpid() != HERE:
        os.kill(os.getpid(), signal.SIGKILL)
    return whose()


def fails() -> np.ndarray:
    raise ValueError("whatever the network raises")


def no_child_is_left() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) == (0, -1)
    except ChildProcessError:
        return True


def what_a_fork_has_done_is_taken_over() -> None:
    hangs = Hangs()
    with FORK, beside([whose, hangs, whose]) as result:
        hangs.wait()
        first, *rest = (result(number) for number in range(3))
    assert first.shape == (50_000,)
    assert HERE not in first
    assert all((one == HERE).all() for one in rest), "nobody waits for a fork that hangs"
    assert no_child_is_left()


def a_fork_that_is_killed_costs_nothing() -> None:
    with FORK, beside([dies, whose]) as result:
        assert (result(0) == HERE).all()
        assert result(1).shape == (50_000,)
    assert no_child_is_left()


def a_piece_that_fails_raises_here() -> None:
    try:
        with FORK, beside([whose, fails]) as result:
            result(1)
    except ValueError as error:
        assert str(error) == "whatever the network raises"
    else:
        raise AssertionError("it did not")
    assert no_child_is_left()


def an_interruption_ends_the_fork() -> None:
    hangs = Hangs()
    try:
        with FORK, beside([hangs]):
            hangs.wait()
            signal.raise_signal(signal.SIGINT)
    except KeyboardInterrupt:
        assert no_child_is_left()


def without_a_fork_all_is_done_here() -> None:
    with patch.object(module, "can_fork", lambda: False), beside([whose]) as result:
        assert no_child_is_left()
        assert (result(0) == HERE).all()
    with FORK, patch.object(os, "fork", side_effect=BlockingIOError("no more processes")), beside([whose]) as result:
        assert (result(0) == HERE).all()


def it_forks_only_where_that_is_safe_and_of_use() -> None:
    with patch.object(module, "available_cpus", lambda: 2), patch.object(torch, "get_num_threads", lambda: 2):
        assert can_fork()
        for target, name, value in (
            (module, "available_cpus", lambda: 1),
            (torch, "get_num_threads", lambda: 1),
            (sys, "platform", "darwin"),
        ):
            with patch.object(target, name, value):
                assert not can_fork()
        release = threading.Event()
        thread = threading.Thread(target=release.wait, daemon=True)
        thread.start()
        assert not can_fork()
        release.set()
        thread.join()


def an_export_is_the_same_with_a_fork() -> None:
    """The gate finds every answer that a fork could give."""
    children, asked = [], []
    fork, compute, to_onnx = os.fork, Oracle._compute, export.to_onnx

    def note_child() -> int:
        children.append(fork())
        return children[-1]

    def note_asked(*arguments: object) -> np.ndarray:
        asked.append(arguments)
        return compute(*arguments)

    def convert_slowly(*arguments: object, **options: object) -> object:
        os.waitid(os.P_PID, children[0], os.WEXITED | os.WNOWAIT)
        return to_onnx(*arguments, **options)

    request = ModelRequest(model="tiny", builder="tests.models:tiny")
    with (
        FORK,
        patch.object(os, "fork", note_child),
        patch.object(Oracle, "_compute", note_asked),
        patch.object(export, "to_onnx", convert_slowly),
    ):
        export.export_model(request, output=Path(sys.argv[1]))
    assert len(children) == 1
    assert not asked, "in this process"


CASES: tuple[Callable[[], None], ...] = (
    what_a_fork_has_done_is_taken_over,
    a_fork_that_is_killed_costs_nothing,
    a_piece_that_fails_raises_here,
    an_interruption_ends_the_fork,
    without_a_fork_all_is_done_here,
    it_forks_only_where_that_is_safe_and_of_use,
    an_export_is_the_same_with_a_fork,
)

if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    for case in CASES:
        case()
        sys.stdout.write(f"{case.__name__}\n")
        sys.stdout.flush()
    # Last: this process is killed, and leaves a fork that ends with it.
    hang = Hangs()
    with FORK, beside([hang]):
        hang.wait()
        os.kill(HERE, signal.SIGKILL)
