"""A pool of Ray actors that work on shards. If one dies, it is replaced and its shards are done again: none is lost or
done twice.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import field
from itertools import islice
from typing import Any

from torchless.errors import TorchlessError, first_line
from torchless.process import tell
from torchless.ray.parts import Part
from torchless.ray.shards import Shard
from torchless.ray.worker import Work, Worker
from torchless.records import dataclass

_SHARDS_IN_HAND = 2  # one an actor works on, and one that waits for it
# If more end without finishing a shard, it is not the images: all workers of a lost node end at once.
_MOST_DEATHS, _LIVES = 20, 3
_PATIENCE_S = 10.0


@dataclass(eq=False)
class _Hand:
    """An actor, and its shards, oldest first. `starting` is the result of its first call, until it arrives."""

    actor: Any
    starting: Any
    shards: dict[Any, Shard] = field(default_factory=dict)


class Pool:
    """`workers` actors with `work.cpus` processors each. A context manager: leaving it ends them all."""

    def __init__(self, ray: Any, work: Work, files: Any, *, workers: int) -> None:
        """`files` is the reference to the result of worker.read_files in Ray's object store: one copy per node."""
        self._ray, self._work, self._files, self._workers = ray, work, files, workers
        self._actor = ray.remote(Worker).options(
            num_cpus=work.cpus, num_gpus=work.gpus, max_restarts=0, max_task_retries=0
        )
        self._died = (
            ray.exceptions.RayActorError,
            ray.exceptions.WorkerCrashedError,
            ray.exceptions.ObjectLostError,
            ray.exceptions.OutOfMemoryError,
        )
        self._hands: list[_Hand] = []
        self._to_do: deque[Shard] = deque()
        self._deaths = self._failed_starts = 0
        self._most_deaths = _MOST_DEATHS + _LIVES * workers
        self._told = False

    def __enter__(self) -> "Pool":
        for _ in range(self._workers):
            self._hire()
        return self

    def __exit__(self, *_: object) -> None:
        for hand in self._hands:
            self._ray.kill(hand.actor)

    def run(self, shards: Iterator[Shard]) -> Iterator[Part]:
        """The rows of each shard, in the order in which they are done. Reads shards only as workers are free, and one
        ahead.

        A shard that killed a worker twice comes in pieces (Shard.after_death). Raises what a worker's Classifier
        raises, and TorchlessError if workers end again and again.
        """
        self._to_do.extend(islice(shards, 1))
        while self._to_do or any(hand.shards for hand in self._hands):
            done = self._next_answer()
            if done is not None:
                yield done
            self._give_out(shards)

    def _hire(self) -> None:
        actor = self._actor.remote(self._work, self._files)
        self._hands.append(_Hand(actor, actor.load.remote()))

    def _give_out(self, shards: Iterator[Shard]) -> None:
        """Gives work to the actors that have started: each gets first one shard, then another."""
        started = [hand for hand in self._hands if hand.starting is None]
        for many in range(1, _SHARDS_IN_HAND + 1):
            for hand in started:
                if len(hand.shards) < many and self._to_do:
                    shard = self._to_do.popleft()
                    hand.shards[hand.actor.classify.remote(shard)] = shard
                    if not self._to_do:
                        self._to_do.extend(islice(shards, 1))

    def _next_answer(self) -> Part | None:
        """Waits for the next event; returns the rows of a shard if it was one."""
        asked = {answer: hand for hand in self._hands for answer in (hand.starting, *hand.shards) if answer is not None}
        ready, _ = self._ray.wait(list(asked), num_returns=1, timeout=_PATIENCE_S)
        if not ready:
            self._tell_why_nothing_happens()
            return None
        return self._take(ready[0], asked[ready[0]])

    def _take(self, answer: Any, hand: _Hand) -> Part | None:
        try:
            part: Part = self._ray.get(answer)
        except self._died as error:
            self._replace(hand, error)
            return None
        except self._ray.exceptions.RayTaskError as error:
            cause = error.cause
            raise (
                cause if isinstance(cause, TorchlessError) else TorchlessError(f"a worker failed: {first_line(cause)}")
            ) from error
        if answer is hand.starting:
            hand.starting, self._failed_starts = None, 0
            return None
        self._deaths = 0
        del hand.shards[answer]
        return part

    def _replace(self, dead: _Hand, error: Exception) -> None:
        """Replaces a worker that died. It was working on the oldest of its shards; the others are blameless."""
        self._hands.remove(dead)
        self._ray.kill(dead.actor)  # it may still run where this process cannot reach it
        if dead.starting is None:
            self._deaths += 1
        else:
            self._failed_starts += 1
        if self._deaths > self._most_deaths or self._failed_starts >= _LIVES * self._workers:
            raise TorchlessError(f"worker processes end again and again; the last one: {first_line(error)}")
        oldest, *others = dead.shards.values() or [None]
        self._to_do.extendleft(reversed([*(oldest.after_death() if oldest else ()), *others]))
        self._hire()

    def _tell_why_nothing_happens(self) -> None:
        if not self._told and not any(hand.starting is None for hand in self._hands):
            self._told = True
            free = self._ray.available_resources()
            needed = f"{self._work.cpus} CPU" + " and 1 GPU" * self._work.gpus
            tell(
                f"waiting for the cluster: a worker takes {needed}; {free.get('CPU', 0):g} CPU and "
                f"{free.get('GPU', 0):g} GPU are free"
            )
