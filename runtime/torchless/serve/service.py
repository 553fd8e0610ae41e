"""What the endpoints share: models, batcher, bodies and counters, and how a request waits for its results."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import field
from functools import partial
from typing import TypeVar

from starlette.requests import Request

from torchless.errors import ArtifactError, DeviceError, ProofError, TorchlessError, UsageError
from torchless.records import dataclass
from torchless.serve.batcher import Batcher
from torchless.serve.bodies import Bodies
from torchless.serve.copies import Stock
from torchless.serve.errors import ClientGoneError, DeadlineError, OverloadedError, RequestError
from torchless.serve.hands import Hands
from torchless.serve.jobs import ImageLogits, Outcome, Source
from torchless.serve.metrics import Metrics
from torchless.serve.models import ServedModel
from torchless.serve.polling import Poller
from torchless.serve.registry import Registry
from torchless.serve.repository import IMAGE_SUFFIX, Key
from torchless.serve.settings import Settings
from torchless.serve.statistics import ModelStatistics, Statistics

T = TypeVar("T")
_LOG = logging.getLogger("torchless.serve")
_MOST_LOADS = 16
_LOOK_S = 0.1


@dataclass
class Service:
    """One server process. `batcher` and `loop` exist while the event loop runs.

    `ready` is set once everything is warmed up, until the server is told to stop. `left_behind` counts the threads that
    did not end. `grpc_port` is set while gRPC is served.
    """

    settings: Settings
    registry: Registry
    metrics: Metrics
    bodies: Bodies
    hands: Hands | None = None
    poller: Poller | None = None
    statistics: Statistics = field(default_factory=lambda: Statistics(ModelStatistics))
    batcher: Batcher = field(init=False)
    loop: asyncio.AbstractEventLoop = field(init=False)
    ready: bool = False
    stopping: bool = False
    left_behind: int = 0
    grpc_port: int | None = None
    _loads: int = 0
    _warm: asyncio.Event = field(init=False)
    _changed: dict[Key, bool] = field(default_factory=dict)
    _look: "asyncio.Future[None] | None" = None
    _loader: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "torchless-load"))
    _looker: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, 1, "torchless-look"))

    def start(self) -> None:
        """Called in the event loop."""
        s, self.loop, self._warm = self.settings, asyncio.get_running_loop(), asyncio.Event()
        exclusive = any(model.exclusive for model in self.registry.all())
        self.batcher = Batcher(
            threads=s.cpus if s.opening.threads is None or exclusive else max(1, s.cpus - s.opening.threads + 1),
            delay_s=s.batch_delay_ms / 1000,
            max_queue=s.max_queue,
            watcher=self.metrics,
        )

    async def close(self) -> None:
        """Ends the batcher's threads, and counts those that do not end, and the models that are still being loaded."""
        self.left_behind = await self.batcher.close() + max(self._loads, int(self.registry.busy))
        if self.hands is not None:
            self.hands.close()

    async def warm_up(self) -> None:
        """Runs each batch size of each model; then the service is ready."""
        for model in self.registry.all():
            await asyncio.gather(asyncio.to_thread(model.warm_up), asyncio.to_thread(self.registry.on_load, model))
        self._warm.set()
        self.ready = not self.stopping
        if self.poller is not None and not self.stopping:
            self.poller.start()

    def stop(self) -> None:
        """The service is no longer ready, but serves requests until the server closes."""
        self.ready, self.stopping = False, True
        if self.poller is not None:
            self.poller.stop()

    async def load(self, name: str) -> None:
        """Loads or reloads a model, one at a time, in a thread for nothing else. Raises RequestError, which names no
        path of this machine, and OverloadedError if too many loads wait.
        """
        if self._loads >= _MOST_LOADS:
            raise OverloadedError(f"{self._loads} models wait to be loaded", 5)
        self._loads += 1
        try:
            await self._in(self._loader, partial(self._load, name))
        finally:
            self._loads -= 1

    def _load(self, name: str) -> None:
        try:
            self.registry.load(name)
        except (ArtifactError, DeviceError, ProofError) as error:
            text = str(error)
            for file in self.registry.look().files.values():
                text = file.without_folder(text)
            raise RequestError(f"failed to load {name!r}: {text}") from None
        except UsageError as error:
            raise _logged(error, f"failed to load {name!r}") from None

    async def adopt(self, stock: Stock) -> None:
        """Serves what is in a stock, once what is served now is warm. Raises what Registry.adopt raises."""
        await self._warm.wait()
        self._loads += 1
        try:
            await self._in(self._loader, partial(self.registry.adopt, stock.pinned, stock.refused))
            await self._in(self._looker, self._look_at_files)
        finally:
            self._loads -= 1
        self.metrics.models(self._changed, self.registry.refused)

    async def found(self) -> list[Key]:
        """The versions that could be loaded now. Raises RequestError."""
        try:
            return list((await self._in(self._looker, self.registry.find)).files)
        except UsageError as error:
            raise _logged(error, "the models cannot be listed") from None

    async def files_changed(self) -> dict[Key, bool]:
        """Whether each model's file has changed since it was loaded: as it was at the last call if the file system does
        not answer at once.
        """
        if self._look is None or self._look.done():
            self._look = asyncio.ensure_future(self._in(self._looker, self._look_at_files))
        await asyncio.wait([self._look], timeout=_LOOK_S)
        return {model.key: self._changed.get(model.key, False) for model in self.registry.all()}

    def _look_at_files(self) -> None:
        self._changed = {model.key: model.file_changed for model in self.registry.all()}

    async def _in(self, threads: ThreadPoolExecutor, function: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, function)

    async def outcomes(
        self, request: Request | None, model: ServedModel, sources: Sequence[Source], timeout_s: float | None = None
    ) -> list[Outcome]:
        """The logits, or the error, of each of the request's images. Without a `request`, whoever asks cancels this
        when the client hangs up.

        Raises OverloadedError (503), DeadlineError (504) after the settings' deadline or an earlier `timeout_s`, and
        ClientGoneError as soon as the client hangs up; its images are then removed from the queue.
        """
        start, outcomes = time.monotonic(), list[Outcome]()
        try:
            outcomes = await self._outcomes(request, model, sources, timeout_s)
        finally:
            name = model.name + IMAGE_SUFFIX if sources and isinstance(sources[0], bytes) else model.name
            self.statistics[name, model.version].record(outcomes, time.monotonic() - start)
        return outcomes

    async def _outcomes(
        self, request: Request | None, model: ServedModel, sources: Sequence[Source], timeout_s: float | None
    ) -> list[Outcome]:
        deadline = min(self.settings.deadline_s, timeout_s or self.settings.deadline_s)
        futures = self.batcher.submit(model, sources, deadline_s=deadline)
        logits = futures[0] if len(futures) == 1 else asyncio.ensure_future(_all(futures))
        hang_up = asyncio.ensure_future(_until_gone(request))
        try:
            done, _ = await asyncio.wait((logits, hang_up), timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if logits in done:
                return [_checked(future.exception() or future.result()) for future in futures]
            if hang_up in done:
                raise ClientGoneError("the client hung up")
            raise DeadlineError(f"no answer within {deadline:g} s")
        finally:
            logits.cancel()
            hang_up.cancel()


def _logged(error: UsageError, what: str) -> RequestError:
    """For what is wrong with the operator's folders, which clients are not told of."""
    _LOG.error("%s", error)
    return RequestError(f"{what}; the server's log says why")


async def _all(futures: Sequence["asyncio.Future[ImageLogits]"]) -> list[ImageLogits | BaseException]:
    """Cancelling this cancels them."""
    return await asyncio.gather(*futures, return_exceptions=True)


def _checked(outcome: ImageLogits | BaseException) -> Outcome:
    """Raises unforeseen errors, which Access logs."""
    if isinstance(outcome, ImageLogits | TorchlessError):
        return outcome
    if isinstance(outcome, MemoryError):
        return TorchlessError("not enough memory for this image")
    raise outcome


async def _until_gone(request: Request | None) -> None:
    """The body has been read, so the only message that can still arrive is that the client hung up."""
    if request is None:
        await asyncio.get_running_loop().create_future()
    while request is not None and (await request.receive())["type"] != "http.disconnect":
        pass
