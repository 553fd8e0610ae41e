"""Work that a forked process begins, while this one is busy with something that takes one processor.

The fork has one thread: those of the library that PyTorch computes with do not come along. It only ever saves time.
Nobody waits for it long: what it has not done, because it is slow, has ended, hangs or was never made, is done here.
"""

import ctypes
import gc
import os
import select
import signal
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray

from torchless.cpus import available_cpus

Array = NDArray[Any]
Work = Sequence[Callable[[], Array]]

_END_WITH_THE_PARENT = 1  # prctl's PR_SET_PDEATHSIG, of Linux


@contextmanager
def beside(work: Work) -> Iterator[Callable[[int], Array]]:
    """While the block runs, a forked process does `work`, piece by piece, until the block asks for the first result;
    where that is safe and of use. What the block is given returns the result of a piece, by its number.

    Time alone decides which process does a piece, so its result must not depend on the number of threads. A piece that
    fails in the fork is done here, and raises here.
    """
    shared = _Shared(work)
    try:
        if work and can_fork():
            with suppress(OSError):  # no more processes, no memory, no room for files
                shared.fork()
        yield shared.result
    finally:
        shared.end()


def can_fork() -> bool:
    """Where there is a second processor, and the user's leave to use it, and no other thread of Python: it might hold a
    lock, which nobody would release in a fork.
    """
    several = available_cpus() > 1 and torch.get_num_threads() > 1
    return several and sys.platform == "linux" and threading.active_count() == 1


class _Shared:
    """Pieces of work, of which two processes take one after the other. Both have them, so the queue is one of numbers:
    a pipe that is filled before the fork.
    """

    def __init__(self, work: Work) -> None:
        self._work, self._found = work, dict[int, Array]()
        self._child: int | None = None
        self._open = ExitStack()

    def fork(self) -> None:
        """Starts the child. Raises OSError where there is none to be had."""
        parent = os.getpid()
        self._results = [self._open.enter_context(tempfile.TemporaryFile()) for _ in self._work]  # noqa: SIM115
        self._queue, numbers = self._pipe()
        os.write(numbers, bytes(range(len(self._work))))
        os.close(numbers)
        self._done, announce = self._pipe()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # the child keeps to that: Ctrl-C is ours
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Python 3.12 counts threads that are not its own, too
                self._child = os.fork()
            if self._child == 0:
                self._live(parent, announce)
        finally:
            os.close(announce)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def result(self, wanted: int) -> Array:
        """Of a piece."""
        if self._child:
            self._finish()
        if wanted not in self._found:
            self._found[wanted] = self._work[wanted]()
        return self._found[wanted]

    def end(self) -> None:
        """Ends the child, and closes what there is of it."""
        child, self._child = self._child, None
        if child:
            with suppress(OSError):
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
        self._open.close()

    def _pipe(self) -> tuple[int, int]:
        """Its end to read from is closed with the rest."""
        read, write = os.pipe()
        self._open.callback(os.close, read)
        return read, write

    def _live(self, parent: int, announce: int) -> NoReturn:
        """The child."""
        try:
            _be_the_child_of(parent)
            for number in self._taken():
                np.save(self._results[number], self._work[number]())
                self._results[number].flush()
                os.write(announce, bytes([number]))
        finally:  # nothing that is the parent's is ended here, nor told: what went wrong, it will meet itself
            os._exit(0)

    def _finish(self) -> None:
        """Does the pieces that nobody has taken, and takes over what the child has done."""
        took = self._rest()
        poll = select.poll()
        poll.register(self._done, select.POLLIN)
        # The child is at most one piece behind; to do that one again would take as long as the last one did.
        end = time.monotonic() + took
        while poll.poll(1000 * max(0.0, end - time.monotonic())) and (numbers := os.read(self._done, len(self._work))):
            for number in numbers:
                self._results[number].seek(0)
                self._found[number] = np.load(self._results[number])
        self.end()

    def _rest(self) -> float:
        """Does what is left of the queue, with a processor less, for the child has it; gives the seconds of the last
        piece.
        """
        threads, took = torch.get_num_threads(), 0.0
        torch.set_num_threads(max(1, threads - 1))
        try:
            for number in self._taken():
                start = time.monotonic()
                self._found[number] = self._work[number]()
                took = time.monotonic() - start
        finally:
            torch.set_num_threads(threads)
        return took

    def _taken(self) -> Iterator[int]:
        while number := os.read(self._queue, 1):
            yield number[0]


def _be_the_child_of(parent: int) -> None:
    ctypes.CDLL(None).prctl(_END_WITH_THE_PARENT, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended already
        os._exit(0)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")  # where memory is short, this process is the one to go
    gc.disable()  # marking objects would copy the memory that they share with the parent
    torch.set_num_threads(1)
