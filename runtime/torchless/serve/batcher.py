"""The micro-batcher: a few threads that take images from bytes to logits, in batches of images that wait for the same
model.

Each thread takes the most advanced work there is: a batch that is due, otherwise an image to decode and prepare. So a
lone image goes straight through, and batches form where work accumulates: behind a GPU, which one batch occupies, or
during `delay_s`. A batch that is not full waits that long for images of its model that are already being prepared,
never for those that may still arrive. Batches have the sizes 1, 2, 4, … up to the maximum; all of them were run once
before the server is ready. Each model has a queue of its own; next is the model that has had the least time.
"""

import asyncio
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from math import ceil

from torchless.serve.errors import OverloadedError, RequestError, UnloadedError
from torchless.serve.jobs import (
    ImageLogits,
    Job,
    Outcome,
    Runnable,
    Source,
    Watcher,
    bucket_sizes,
)
from torchless.serve.stages import do_apart, prepare, run

_LONGEST_RETRY_S = 60
_POLL_S = 0.01
_SMOOTHING = 0.1  # the weight of the newest image in the running mean of the cost


@dataclass(slots=True)
class _Queue:
    """One model's images: those that are encoded, those that are ready to run, and how many are `coming`, encoded or
    being prepared; and how many of its batches run. `spent_s` is the time that threads worked for it, plus what
    others had had when it came.
    """

    spent_s: float

    encoded: deque[Job] = field(default_factory=deque)
    ready: deque[Job] = field(default_factory=deque)
    coming: int = 0
    running: int = 0

    @property
    def waiting(self) -> int:
        """Images that no thread works on yet."""
        return len(self.encoded) + len(self.ready)


class Batcher:
    """Created, called and closed in the event loop's thread.

    `max_queue` limits the number of waiting images of each model; `delay_s` is how long a batch waits for more of them.
    """

    def __init__(self, *, threads: int, delay_s: float, max_queue: int, watcher: Watcher) -> None:
        self._delay_s, self._max_queue, self._watcher = delay_s, max_queue, watcher
        self._loop = asyncio.get_running_loop()
        self._changed = threading.Condition()
        self._queues: dict[Runnable, _Queue] = {}
        self._in_flight = self._unanswered = 0
        self._seconds_per_image: dict[str, float] = {}
        self._closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"torchless-{i}", daemon=True) for i in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Images that no thread works on yet."""
        return sum(queue.waiting for queue in self._queues.values())

    def expected_wait_s(self, model: Runnable) -> float:
        """How long a new image of this model will wait, estimated from the cost of recent ones."""
        own = self._queues[model].waiting if model in self._queues else 0
        work = sum(
            min(own, queue.waiting) * self._seconds_per_image.get(other.name, 0.0)
            for other, queue in self._queues.items()
        )
        return work / len(self._threads)

    def submit(
        self, model: Runnable, sources: Sequence[Source], *, deadline_s: float
    ) -> "list[asyncio.Future[ImageLogits]]":
        """A future for each encoded image (bytes) or prepared one (the result of the model's `prepare`). Takes all or
        none.

        A cancelled future frees its place. Raises OverloadedError if the queue is full, or so long that the result
        would come after `deadline_s`; RequestError for more images than the queue can ever hold.
        """
        now, count = time.monotonic(), len(sources)
        if count > self._max_queue:
            raise RequestError(
                f"the request has {count} images, the server takes at most {self._max_queue} at once (--max-queue)"
            )
        with self._changed:
            self._check_room(model, count, deadline_s)
            jobs = [self._job(model, source, now) for source in sources]
            for job in jobs:
                self._enqueue(job)
            self._in_flight += count
            self._unanswered += count
            self._changed.notify(count)
            self._watcher.queue_changed(self.waiting)
        for job in jobs:
            job.future.add_done_callback(partial(self._forget, job))
        return [job.future for job in jobs]

    async def close(self, *, patience_s: float = 1.0) -> int:
        """Finishes what was submitted, and ends the threads. Those that are still at work `patience_s` after nobody
        waits for an image any more are left behind; returns how many.
        """
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        patient_until = time.monotonic() + patience_s
        while (alive := sum(thread.is_alive() for thread in self._threads)) and time.monotonic() < patient_until:
            await asyncio.sleep(_POLL_S)
            if self._unanswered:
                patient_until = time.monotonic() + patience_s
        return alive

    def _check_room(self, model: Runnable, count: int, deadline_s: float) -> None:
        if self._closing:
            raise UnloadedError("the server is stopping")
        wait = self.expected_wait_s(model)
        retry = min(_LONGEST_RETRY_S, max(1, ceil(wait)))
        waiting = self._queues[model].waiting if model in self._queues else 0
        if waiting + count > self._max_queue:
            raise OverloadedError(f"the queue is full: {waiting} of {self._max_queue} images wait", retry)
        if wait > deadline_s:
            raise OverloadedError(
                f"the queue is too long: an answer would take {wait:.1f} s, the deadline is {deadline_s:g} s", retry
            )

    def _job(self, model: Runnable, source: Source, now: float) -> Job:
        encoded = isinstance(source, bytes)
        return Job(model, source if encoded else None, None if encoded else source, self._loop.create_future(), now)  # type: ignore[arg-type]

    def _enqueue(self, job: Job) -> None:
        queue = self._queues.get(job.model)
        if queue is None:
            least = min((other.spent_s for other in self._queues.values()), default=0.0)
            queue = self._queues[job.model] = _Queue(least)
        if job.data is not None:
            queue.encoded.append(job)
            queue.coming += 1
        else:
            queue.ready.append(job)

    def _forget(self, job: Job, future: "asyncio.Future[ImageLogits]") -> None:
        """Removes a cancelled job from the queue, if it still waits there."""
        self._unanswered -= 1
        if not future.cancelled():
            return
        with self._changed:
            queue = self._queues.get(job.model)
            if queue is not None and job in queue.encoded:
                queue.encoded.remove(job)
                queue.coming -= 1
            elif queue is not None and job in queue.ready:
                queue.ready.remove(job)
            else:  # a thread works on it, and releases it afterwards
                return
            self._in_flight -= 1
            self._drop_if_empty(job.model)
            self._changed.notify()  # a batch that waited for it
            self._watcher.queue_changed(self.waiting)

    def _work(self) -> None:
        while (step := self._next()) is not None:
            step()
            del step  # while this waits for another, it holds no model

    def _next(self) -> Callable[[], None] | None:
        """The next thing to do. None if everything is done and the batcher is closing."""
        with self._changed:
            while True:
                step = self._start()
                if step is not None:
                    if any(queue.waiting for queue in self._queues.values()):
                        self._changed.notify()  # a sleeping thread may find more
                    self._watcher.queue_changed(self.waiting)
                    return step
                if self._closing and not self._in_flight:
                    self._changed.notify_all()
                    return None
                self._changed.wait(self._patience())

    def _start(self) -> Callable[[], None] | None:
        """Something to do for the model that has had the least time of those that have something."""
        now = time.monotonic()
        for model, queue in sorted(self._queues.items(), key=lambda item: item[1].spent_s):
            step = self._start_batch(model, queue, now) or self._start_preparing(queue)
            if step is not None:
                return partial(self._timed, queue, step)
        return None

    def _timed(self, queue: _Queue, step: Callable[[], None]) -> None:
        start = time.monotonic()
        step()
        with self._changed:
            queue.spent_s += time.monotonic() - start

    def _start_batch(self, model: Runnable, queue: _Queue, now: float) -> Callable[[], None] | None:
        if not queue.ready or (model.exclusive and queue.running) or not self._is_due(model, queue, now):
            return None
        # on processors, a batch gains little, and another model would wait for all of it
        most = 1 if len(self._queues) > 1 and not model.exclusive else len(queue.ready)
        size = max(size for size in bucket_sizes(model.max_batch_size) if size <= most)
        jobs = [queue.ready.popleft() for _ in range(size)]
        queue.running += 1
        return partial(self._run, model, jobs, alone=self._in_flight == len(jobs))

    def _start_preparing(self, queue: _Queue) -> Callable[[], None] | None:
        if not queue.encoded:
            return None
        model = queue.encoded[0].model
        if model.apart is None or self._in_flight == 1:
            return partial(self._prepare, queue.encoded.popleft())
        share = ceil(len(queue.encoded) / len(self._threads)) if len(self._queues) == 1 else 1
        return partial(self._do_apart, [queue.encoded.popleft() for _ in range(min(share, model.max_apart))])

    def _is_due(self, model: Runnable, queue: _Queue, now: float) -> bool:
        ready = queue.ready
        return len(ready) >= model.max_batch_size or not queue.coming or now >= ready[0].waiting_since + self._delay_s

    def _patience(self) -> float | None:
        """Seconds until the first batch is due if nothing else happens."""
        since = [queue.ready[0].waiting_since for queue in self._queues.values() if queue.ready]
        due = min(since) + self._delay_s - time.monotonic() if since else 0.0
        return due if due > 0 else None  # batches that are already due wait for the device; its release wakes us

    def _prepare(self, job: Job) -> None:
        error = prepare(job)
        if error is not None:
            self._finish([(job, error)], lambda: self._no_longer_coming(job.model))
            return
        with self._changed:
            self._queues[job.model].ready.append(job)
            self._no_longer_coming(job.model)

    def _do_apart(self, jobs: list[Job]) -> None:
        """All that some images of a model need, in another process; where none is free, this one prepares them."""
        model, live = jobs[0].model, [job for job in jobs if not job.future.cancelled()]
        done = do_apart(model, live)
        for job in jobs:
            if done is None or job not in live:
                self._prepare(job)
        if done:
            sizes = Counter(outcome.batch_size for _, outcome in done if isinstance(outcome, ImageLogits))
            for size, images in sizes.items():
                for _ in range(images // size):
                    self._watcher.batch_done(model, size)
            self._finish(done, lambda: self._no_longer_coming(model, len(done)))

    def _run(self, model: Runnable, jobs: list[Job], *, alone: bool) -> None:
        done = run(model, jobs, alone=alone)
        self._watcher.batch_done(model, len(jobs))
        self._finish(done, lambda: self._no_longer_running(model))

    def _finish(self, done: Sequence[tuple[Job, Outcome]], release: Callable[[], None]) -> None:
        for job, outcome in done:
            self._watcher.image_done(job.model, outcome, job.timings)
        with self._changed:
            release()
            self._in_flight -= len(done)
            for job, _ in done:
                spent = job.timings.decode + job.timings.preprocess + job.timings.inference / len(done)
                before = self._seconds_per_image.get(job.model.name, 0.0)
                self._seconds_per_image[job.model.name] = before + _SMOOTHING * (spent - before)
            self._changed.notify()
        with suppress(RuntimeError):  # the loop has ended, and nobody waits
            self._loop.call_soon_threadsafe(_deliver, done)

    def _no_longer_coming(self, model: Runnable, images: int = 1) -> None:
        self._queues[model].coming -= images
        self._drop_if_empty(model)

    def _no_longer_running(self, model: Runnable) -> None:
        self._queues[model].running -= 1
        self._drop_if_empty(model)

    def _drop_if_empty(self, model: Runnable) -> None:
        """Forgets a model that nobody waits for, so that the memory of an unloaded one is freed."""
        queue = self._queues[model]
        if not (queue.encoded or queue.ready or queue.coming or queue.running):
            del self._queues[model]


def _deliver(done: Sequence[tuple[Job, Outcome]]) -> None:
    for job, outcome in done:
        if job.future.done():
            continue
        if isinstance(outcome, Exception):
            job.future.set_exception(outcome)
        else:
            job.future.set_result(outcome)
