"""What /metrics tells Prometheus. The numbers of several worker processes are added up through files in a shared
folder.
"""

from collections.abc import Callable, Collection, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from torchless.errors import ImageError
from torchless.serve.errors import UnloadedError
from torchless.serve.jobs import ImageLogits, Outcome, Runnable, Timings, bucket_sizes
from torchless.serve.repository import Key

CONTENT_TYPE = CONTENT_TYPE_LATEST
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_STAGES = ("queue", "decode", "preprocess", "inference")


class Metrics:
    """The counters of one process (jobs.Watcher). Model names come from the operator, never from a request, so there
    are few.
    """

    def __init__(self, *, max_batch_size: int, shared: bool) -> None:
        self._registry = CollectorRegistry()
        registry, self._shared = self._registry, shared
        self._requests = Counter(
            "torchless_requests",
            "HTTP requests that were answered.",
            ["endpoint", "model", "version", "status"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "torchless_request_seconds",
            "From a request's headers to its answer.",
            ["endpoint", "model", "version"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._images = Counter(
            "torchless_images", "Images by what became of them.", ["model", "version", "outcome"], registry=registry
        )
        self._stage_seconds = Histogram(
            "torchless_stage_seconds",
            "Time of one image in each stage.",
            ["model", "version", "stage"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._batch_size = Histogram(
            "torchless_batch_size",
            "Images that ran together.",
            ["model", "version"],
            buckets=bucket_sizes(max_batch_size),
            registry=registry,
        )
        self._waiting = Gauge(
            "torchless_queue_images", "Images that wait.", registry=registry, multiprocess_mode="livesum"
        )
        self._ready = Gauge(
            "torchless_models", "Models that are loaded.", registry=registry, multiprocess_mode="livemostrecent"
        )
        self._stale = Gauge(
            "torchless_model_file_changed",
            "1 where the file is not the one that was loaded.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._refused = Gauge(
            "torchless_model_refused",
            "1 where a changed or new file is not served: the repository's index and the log say why.",
            ["model", "version"],
            registry=registry,
            multiprocess_mode="livemostrecent",
        )
        self._stages: dict[tuple[str, str], list[Callable[[float], None]]] = {}
        self._gauged: dict[Gauge, set[Key]] = {}

    def queue_changed(self, waiting: int) -> None:
        self._waiting.set(waiting)

    def batch_done(self, model: Runnable, size: int) -> None:
        self._batch_size.labels(model.name, model.version).observe(size)

    def image_done(self, model: Runnable, outcome: Outcome, timings: Timings) -> None:
        labels = model.name, model.version
        self._images.labels(*labels, _kind(outcome)).inc()
        if not isinstance(outcome, ImageLogits):
            return
        stages = self._stages.get(labels) or self._stages.setdefault(
            labels, [self._stage_seconds.labels(*labels, stage).observe for stage in _STAGES]
        )
        for observe, seconds in zip(
            stages, (timings.queue, timings.decode, timings.preprocess, timings.inference), strict=True
        ):
            observe(seconds)

    def request_done(self, endpoint: str, model: Runnable | None, status: int, seconds: float) -> None:
        labels = (model.name, model.version) if model is not None else ("", "")
        self._requests.labels(endpoint, *labels, str(status)).inc()
        self._request_seconds.labels(endpoint, *labels).observe(seconds)

    def models(self, changed: Mapping[Key, bool], refused: Collection[Key]) -> None:
        """Sets which models are loaded, whether the file of each has changed since, and which were refused."""
        self._ready.set(len(changed))
        for gauge, values in ((self._stale, changed), (self._refused, dict.fromkeys(refused, True))):
            known = self._gauged.setdefault(gauge, set())
            known.update(values)
            for key in known:
                gauge.labels(*key).set(values.get(key, False))

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        registry = self._registry
        if self._shared:
            registry = CollectorRegistry()
            multiprocess.MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return generate_latest(registry)


def _kind(outcome: Outcome) -> str:
    if isinstance(outcome, ImageLogits):
        return "ok"
    if isinstance(outcome, UnloadedError):
        return "cancelled"
    return "bad_image" if isinstance(outcome, ImageError) else "failed"
