"""The stages from an image's bytes to its logits: what becomes of each job, and how long it took. They hold no lock."""

import logging
import time
from collections.abc import Sequence

from torchless.errors import InferenceError
from torchless.serve.errors import UnloadedError
from torchless.serve.jobs import ImageLogits, Job, Outcome, Prepared, Runnable, Tensor, Timings, Worked

_LOG = logging.getLogger("torchless.serve")


def prepare(job: Job) -> Exception | None:
    """Decodes an image and prepares it for the model; what went wrong. One that was cancelled is not begun."""
    start = time.monotonic()
    job.timings.queue += start - job.waiting_since
    if job.data is None or job.future.cancelled():
        return UnloadedError("cancelled")
    try:
        rgb, job.warning = job.model.decode(job.data)
        decoded = time.monotonic()
        job.timings.decode = decoded - start
        job.data = None
        job.tensor = job.model.prepare(rgb)
    except Exception as error:  # ImageError, MemoryError or anything else: it fails this image, not the thread
        return error
    job.waiting_since = time.monotonic()
    job.timings.preprocess = job.waiting_since - decoded
    return None


def run(model: Runnable, jobs: Sequence[Job], *, alone: bool) -> list[tuple[Job, Outcome]]:
    """A batch of prepared images."""
    start = time.monotonic()
    found = _outcomes(model, [job.tensor for job in jobs if job.tensor is not None], alone)
    took, done = time.monotonic() - start, list[tuple[Job, Outcome]]()
    for job, row in zip(jobs, found, strict=True):
        job.timings.queue += start - job.waiting_since
        job.timings.inference = took
        outcome = row if isinstance(row, Exception) else ImageLogits(row, job.timings, len(jobs), job.warning)
        done.append((job, outcome))
    return done


def do_apart(model: Runnable, jobs: Sequence[Job]) -> list[tuple[Job, Outcome]] | None:
    """All stages of some encoded images, in another process. None if none is free."""
    start = time.monotonic()
    try:
        images = [job.data for job in jobs if job.data is not None]
        worked = [] if not images else None if model.apart is None else model.apart(images)
    except Exception as error:  # as in prepare
        worked = [error] * len(jobs)
    return None if worked is None else [(job, _outcome(job, one, start)) for job, one in zip(jobs, worked, strict=True)]


def _outcomes(model: Runnable, tensors: list[Prepared], alone: bool) -> Sequence[Tensor | Exception]:
    """A row for each image. If the batch fails, each image is tried alone, so that none fails because of another."""
    try:
        return list(model.run(tensors, alone=alone))
    except Exception as error:  # as in prepare
        if len(tensors) > 1:
            return [row for tensor in tensors for row in _outcomes(model, [tensor], alone)]
        if not isinstance(error, InferenceError):
            _LOG.exception("the model %s failed", model.name)
        return [error]


def _outcome(job: Job, worked: Worked | Exception, start: float) -> Outcome:
    if isinstance(worked, Exception):
        return worked
    logits, queue_s, decode_s, preprocess_s, inference_s, size, job.warning = worked
    waited_s = job.timings.queue + start - job.waiting_since + queue_s
    job.timings = Timings(waited_s, decode_s, preprocess_s, inference_s)
    return ImageLogits(logits, job.timings, size, job.warning)
