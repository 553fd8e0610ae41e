"""What the endpoints share: models, batcher, bodies and counters, and how a request waits for its results."""

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from starlette.requests import Request

from torchless.errors import TorchlessError
from torchless.serve.batcher import Batcher
from torchless.serve.bodies import Bodies
from torchless.serve.errors import ClientGoneError, DeadlineError
from torchless.serve.jobs import ImageLogits, Outcome, Source
from torchless.serve.metrics import Metrics
from torchless.serve.models import Registry, ServedModel
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")


@dataclass
class Service:
    """One server process. `batcher` exists while the event loop runs.

    `ready` is set once everything is warmed up, until the server is told to stop.
    """

    settings: Settings
    registry: Registry
    metrics: Metrics
    bodies: Bodies
    batcher: Batcher = field(init=False)
    ready: bool = False
    stopping: bool = False

    def start(self) -> None:
        """Called in the event loop."""
        s = self.settings
        exclusive = any(model.exclusive for model in self.registry.all())
        self.batcher = Batcher(
            threads=s.cpus if s.opening.threads is None or exclusive else max(1, s.cpus - s.opening.threads + 1),
            max_batch_size=s.max_batch_size,
            delay_s=s.batch_delay_ms / 1000,
            max_queue=s.max_queue,
            watcher=self.metrics,
        )

    async def warm_up(self) -> None:
        """Runs each batch size of each model; then the service is ready."""
        for model in self.registry.all():
            await asyncio.to_thread(model.warm_up, self.settings.max_batch_size)
        self.ready = not self.stopping

    def stop(self) -> None:
        """The service is no longer ready, but serves requests until the server closes."""
        self.ready, self.stopping = False, True

    async def outcomes(
        self, request: Request, model: ServedModel, sources: Sequence[Source], timeout_s: float | None = None
    ) -> list[Outcome]:
        """The logits, or the error, of each of the request's images.

        Raises OverloadedError (503), DeadlineError (504) after the settings' deadline or an earlier `timeout_s`, and
        ClientGoneError as soon as the client hangs up; its images are then removed from the queue.
        """
        deadline = min(self.settings.deadline_s, timeout_s or self.settings.deadline_s)
        futures = self.batcher.submit(model, sources, deadline_s=deadline)
        logits = asyncio.ensure_future(_all(futures))
        hang_up = asyncio.ensure_future(_until_gone(request))
        try:
            done, _ = await asyncio.wait((logits, hang_up), timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if logits in done:
                return [_checked(outcome) for outcome in logits.result()]
            if hang_up in done:
                raise ClientGoneError("the client hung up")
            raise DeadlineError(f"no answer within {deadline:g} s")
        finally:
            logits.cancel()
            hang_up.cancel()


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


async def _until_gone(request: Request) -> None:
    """The body has been read, so the only message that can still arrive is that the client hung up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
