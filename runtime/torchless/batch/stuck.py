"""Ctrl-C in a run whose decoder is stuck: Python's own handler waits until the decoder returns to it."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torchless.process import INTERRUPTED, tell

PATIENCE_S = 3.0  # for what ends by itself


@contextmanager
def ending_though_stuck(last_words: Callable[[], str]) -> Iterator[None]:
    """While the block runs, Ctrl-C ends the process `PATIENCE_S` later if the block has not ended by then. Called in
    the main thread.
    """
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    ended = threading.Event()

    def watch() -> None:
        while (number := ours.recv(1)) and number[0] != signal.SIGINT:
            pass
        if number and not ended.wait(PATIENCE_S):
            tell(last_words())
            os._exit(INTERRUPTED)

    watcher = threading.Thread(target=watch, name="torchless-ctrl-c", daemon=True)
    with ours, theirs:
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        watcher.start()
        try:
            yield
        finally:
            signal.set_wakeup_fd(before)
            ended.set()
            theirs.shutdown(socket.SHUT_WR)  # ends the watcher
            watcher.join()
