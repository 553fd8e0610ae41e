"""The processes that work on images beside the server's own, so that Python's lock holds up neither.

There is one for each processor, with a session of one thread. They serve what the server has loaded, byte for byte, and
each that dies is named in the log and replaced; until then the server's own threads do its work.
"""

import atexit
import itertools
import logging
import queue
import threading
import time
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from multiprocessing.connection import wait

from torchless.errors import InferenceError, first_line
from torchless.serve.content import Content, content_of
from torchless.serve.errors import UnloadedError
from torchless.serve.hand import PATIENCE_S, GoneError, Hand
from torchless.serve.jobs import Prepared, Worked
from torchless.serve.models import ServedModel
from torchless.serve.process import pause_s
from torchless.serve.settings import MEGA, Settings

LARGEST = 64 * MEGA  # of a model's files: each process holds its own weights
_TOGETHER, _GAIN, _RUNS = 4, 0.93, 5  # a batch that is tried, what part of the time it must take, how often
_LONG_S = 0.01  # larger networks gain nothing, and others would wait
_LOG = logging.getLogger("torchless.serve")
_POLL_S, _WATCH_S = 0.05, 1.0


def suits(model: ServedModel) -> bool:
    """Whether such processes work for it: on a GPU one batch runs at a time, and of a large network the lock is held
    only for a small part of the time.
    """
    return not model.exclusive and model.classifier.artifact.size <= LARGEST


def max_batch_size(model: ServedModel) -> int:
    """1, or more if a batch takes less time here than its images one by one, as with the smallest networks."""
    (image,) = model.classifier.example()
    one = _quickest(model, [image])
    if one > _LONG_S:
        return 1
    return _TOGETHER if _quickest(model, [image] * _TOGETHER) < _GAIN * _TOGETHER * one else 1


def _quickest(model: ServedModel, batch: Sequence[Prepared]) -> float:
    """The seconds of a processor that the quickest of some runs took: those of a busy machine are hardly more."""
    times = []
    for _ in range(_RUNS):
        start = time.thread_time()
        model.run(batch, alone=False)
        times.append(time.thread_time() - start)
    return min(times)


class Hands:
    """`count` processes; none are started before there is a model for them. Safe from any thread."""

    def __init__(self, settings: Settings, count: int) -> None:
        self._settings, self._count = replace(settings, pinned={}), count
        self._patience_s = max(PATIENCE_S, settings.deadline_s)
        self._contents: dict[int, Content] = {}
        self._live: list[Hand] = []
        self._idle: queue.SimpleQueue[Hand] = queue.SimpleQueue()
        self._changing, self._closing = threading.RLock(), threading.Event()
        self._keys = itertools.count(1)
        self._keepers: list[threading.Thread] = []
        atexit.register(self.close)  # multiprocessing would wait for them

    def take(self, model: ServedModel) -> None:
        """Has the processes work on images of this model from now on, if they suit it. Blocks until they have
        loaded it.
        """
        if not suits(model):
            return
        model.max_apart = max_batch_size(model)
        content = content_of(model, next(self._keys))
        if content is None:  # the threads of the server go on with what they have
            return
        weakref.finalize(model, self._forget, content.key).atexit = False
        tried = []
        with self._changing:
            self._contents[content.key] = content
            for hand in [*self._live]:
                self._load(hand, content)
            if not self._keepers:
                tried = [threading.Event() for _ in range(self._count)]
                self._keepers = [threading.Thread(target=self._keep, args=(one,), daemon=True) for one in tried]
                for keeper in self._keepers:
                    keeper.start()
        for one in tried:
            one.wait()
        model.apart = partial(self._work, content.key)

    def pids(self) -> list[int]:
        """Of the processes that are ready."""
        with self._changing:
            return [hand.process.pid for hand in self._live if hand.process.pid is not None]

    def close(self) -> None:
        """Ends them, whatever they do."""
        self._closing.set()
        atexit.unregister(self.close)
        with self._changing:
            for hand in self._live:
                hand.kill()

    def _work(self, key: int, images: Sequence[bytes]) -> list[Worked | Exception] | None:
        """None if no process is free. When one ends, its images are tried one by one, so that none fails because of
        another.
        """
        while True:
            try:
                hand = self._idle.get_nowait()
            except queue.Empty:
                return None
            try:
                answers = hand.ask(key, images)
            except GoneError:
                if len(images) > 1:
                    return [self._work_alone(key, image) for image in images]
                return [InferenceError("the process that worked on this image ended")]
            if answers is not None:
                self._idle.put(hand)
                return answers

    def _work_alone(self, key: int, image: bytes) -> Worked | Exception:
        """Never in the server's own process, which the image may end too."""
        until = time.monotonic() + self._patience_s
        while (answers := self._work(key, [image])) is None:
            if self._closing.wait(_POLL_S):
                return UnloadedError("the server is stopping")
            if time.monotonic() > until:
                return InferenceError("no process was free to work on this image")
        return answers[0]

    def _keep(self, tried: threading.Event) -> None:
        """Has one process running until all is closed."""
        failures = 0
        while not self._closing.is_set():
            hand = self._begin()
            tried.set()
            if hand is not None:
                failures = 0
                while not wait([hand.process.sentinel], _WATCH_S):
                    if hand.waits_for() > self._patience_s:
                        _LOG.error("process %s for images does not answer, and is ended", hand.process.pid)
                        hand.kill()
                self._lose(hand)
            else:
                self._closing.wait(pause_s(failures))
                failures += 1

    def _begin(self) -> Hand | None:
        try:
            with self._changing:
                hand = Hand(self._settings, list(self._contents.values()))
            hand.ready()
        except Exception as error:  # no memory, too many processes, or a process that may have none
            if not self._closing.is_set():
                why = f" ({first_line(error)})" if not isinstance(error, GoneError) else ""
                _LOG.error("a process for images could not start%s; threads of the server do its work", why)
            return None
        with self._changing:
            self._live.append(hand)
            if self._closing.is_set():
                hand.kill()
            for key in hand.known - self._contents.keys():
                hand.forget(key)
            for key in self._contents.keys() - hand.known:
                self._load(hand, self._contents[key])
        self._idle.put(hand)
        return hand

    def _load(self, hand: Hand, content: Content) -> None:
        with suppress(GoneError):  # its keeper notices
            hand.load(content)

    def _lose(self, hand: Hand) -> None:
        hand.process.join()
        with self._changing:
            self._live.remove(hand)
        code = hand.process.exitcode or 0
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        if not self._closing.is_set():
            _LOG.error("process %d for images %s; another is started", hand.process.pid, how)

    def _forget(self, key: int) -> None:
        """Called when nothing refers to the model any more, in any thread: it waits for nothing."""
        threading.Thread(target=self._forget_now, args=(key,), daemon=True).start()

    def _forget_now(self, key: int) -> None:
        with self._changing:
            if self._contents.pop(key, None) is not None:
                for hand in self._live:
                    hand.forget(key)
