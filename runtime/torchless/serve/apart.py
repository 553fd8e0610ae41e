"""A process that works on images, one at a time: it is asked through one pipe, and told of models through another."""

import logging
import pickle
import signal
import threading
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import NamedTuple

from torchless.errors import TorchlessError, first_line
from torchless.serve.content import Content
from torchless.serve.jobs import Prepared, Worked, bucket_sizes
from torchless.serve.models import ServedModel
from torchless.serve.process import configure_process, leave_now
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")


class _Prepared(NamedTuple):
    """An image that is ready to run, and when its work began, when it was decoded and when prepared."""

    tensor: Prepared
    start: float
    decoded: float
    prepared: float
    warning: str | None


def work(settings: Settings, images: Connection, control: Connection, contents: Sequence[Content]) -> None:
    """The whole life of such a process. It ends with its parent, whose end closes the pipes; signals are the parent's
    to understand.
    """
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    configure_process(settings, image_threads=1)
    models: dict[int, ServedModel] = {}
    try:
        for content in contents:
            _load(content, settings, models, control)
        threading.Thread(target=_obey, args=(settings, control, models), daemon=True).start()
        while True:
            key, questions = pickle.loads(images.recv_bytes())  # noqa: S301 - from the parent
            images.send_bytes(pickle.dumps(_answer(models[key], questions), 5))
    except (EOFError, OSError):
        leave_now(0)


def _obey(settings: Settings, control: Connection, models: dict[int, ServedModel]) -> None:
    """Loads and forgets models, while images are worked on."""
    try:
        while True:
            order = control.recv()
            if isinstance(order, Content):
                _load(order, settings, models, control)
            else:
                models.pop(order, None)
    except (EOFError, OSError):
        leave_now(0)


def _load(content: Content, settings: Settings, models: dict[int, ServedModel], control: Connection) -> None:
    """Tells the parent None, or why it failed."""
    try:
        model = content.open(settings)
    except (TorchlessError, MemoryError) as error:
        control.send(first_line(error))
    else:
        models[content.key] = model
        control.send(None)


def _answer(model: ServedModel, images: Sequence[bytes]) -> list[Worked | Exception]:
    """What became of each image; those that can be prepared run together, in sizes that are warm."""
    start = time.monotonic()
    found = [_prepared(model, image) for image in images]
    ready = [each for each in found if not isinstance(each, Exception)]
    sizes = _parts(len(ready), model.max_batch_size)
    worked: list[Worked | Exception] = []
    for size in sizes:
        worked += _run(model, ready[len(worked) : len(worked) + size], start)
    rest = iter(worked)
    return [each if isinstance(each, Exception) else next(rest) for each in found]


def _parts(count: int, most: int) -> list[int]:
    """7 as 4, 2 and 1."""
    parts: list[int] = []
    for size in reversed(bucket_sizes(most)):
        parts += [size] * ((count - sum(parts)) // size)
    return parts


def _prepared(model: ServedModel, image: bytes) -> _Prepared | Exception:
    start = time.monotonic()
    try:
        rgb, warning = model.decode(image)
        decoded = time.monotonic()
        return _Prepared(model.prepare(rgb), start, decoded, time.monotonic(), warning)
    except Exception as error:
        return _told(error)


def _run(model: ServedModel, batch: list[_Prepared], start: float) -> list[Worked | Exception]:
    """If the batch fails, each image is tried alone."""
    begun = time.monotonic()
    try:
        rows = model.run([each.tensor for each in batch], alone=False)
    except Exception as error:
        return [one for each in batch for one in _run(model, [each], start)] if len(batch) > 1 else [_told(error)]
    took = time.monotonic() - begun
    return [
        Worked(
            row,
            each.start - start + begun - each.prepared,
            each.decoded - each.start,
            each.prepared - each.decoded,
            took,
            len(batch),
            each.warning,
        )
        for each, row in zip(batch, rows, strict=True)
    ]


def _told(error: Exception) -> Exception:
    """Foreseen errors are for the client. Of others the traceback is in the log, and the parent learns that there was
    one.
    """
    if isinstance(error, TorchlessError | MemoryError):
        return error
    _LOG.error("an image could not be worked on", exc_info=error)
    return RuntimeError(first_line(error))
