"""`torchless serve --engine ray`: the application of `torchless serve` in several processes of a Ray cluster, behind
Ray Serve's HTTP proxies.

Each replica is a whole server process: models, batcher, bounded queue. Ray Serve starts and replaces replicas, and
sends requests to the least busy ones. Needs the extra `ray`.
"""

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from torchless.cpus import available_cpus
from torchless.errors import UsageError, first_line
from torchless.model.artifact import Artifact
from torchless.model.signing import SUFFIX
from torchless.ray.cluster import cluster, import_ray, is_own
from torchless.ray.folders import ModelFiles, ModelFolder
from torchless.ray.worker import read_files
from torchless.serve.access import error_response
from torchless.serve.app import create_app
from torchless.serve.process import configure_process
from torchless.serve.registry import Registry
from torchless.serve.repository import Key, Origin
from torchless.serve.server import announce, listen, make_service
from torchless.serve.settings import Settings

APP_NAME = "torchless"
# Ray Serve's proxies call this function for their middleware; they inherit the variable from the process that starts
# the cluster.
PROXY_VARIABLE, PROXY_CALLBACK = "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH", "torchless.ray.serve.around_proxy"
_LOG = logging.getLogger("torchless.serve")
_POLL_S, _HEALTH_CHECK_S = 0.02, 2.0


def serve_on_ray(settings: Settings, address: str | None) -> None:
    """Serves with `settings.workers` replicas until SIGTERM or SIGINT. Raises ArtifactError, DeviceError or UsageError
    before it listens.
    """
    import_ray(address)
    if settings.allow_model_control:
        raise UsageError("model control reaches one replica; with `engine` ray the others would keep the old model")
    if settings.poll_s is not None:
        raise UsageError("`engine` ray serves the files of its start: leave `poll_s` out")
    if settings.grpc_port is not None:
        raise UsageError("`engine` ray serves HTTP only: leave `grpc_port` out")
    if settings.port == 0:
        raise UsageError(
            "`engine` ray listens on every node of the cluster, so it cannot pick a free port; name one with `port`"
        )
    configure_process(settings, image_threads=1)
    if is_own(address):
        listen(settings.host, settings.port).close()  # only to check that it can be, like the next
    registry = Registry(settings)
    registry.load_all()
    models = {model.key: _files(model.classifier.artifact, settings) for model in registry.all()}
    size = sum(path.stat().st_size for files in models.values() for path in files)
    os.environ.setdefault(PROXY_VARIABLE, PROXY_CALLBACK)
    with cluster(address, cpus=max(available_cpus(), settings.workers * cpus_of(settings)), model_bytes=size) as ray:
        run_application(settings, {key: ray.put(read_files(files)) for key, files in models.items()})
        with _stop_signals() as told_to_stop:
            announce(settings, registry, settings.host, settings.port)
            del registry
            told_to_stop.wait()
            _LOG.info("stopping")
            stop_application()
    _LOG.info("stopped")


def _files(artifact: Artifact, settings: Settings) -> tuple[Path, ...]:
    """The files that a replica needs of a model; it checks the signature itself."""
    return *artifact.files, *(
        [Path(f"{artifact.path}{SUFFIX}")] if settings.opening.require_signature is not None else []
    )


def cpus_of(settings: Settings) -> int:
    """The processors of one replica."""
    return settings.opening.threads or 1


def run_application(settings: Settings, models: Mapping[Key, Any]) -> None:
    """Starts the replicas, and returns when they serve.

    `models` are references to the results of worker.read_files, by the models' keys. Raises UsageError if they cannot
    start.
    """
    from ray import serve

    as_deployment = serve.deployment(
        name=APP_NAME,
        num_replicas=settings.workers,
        max_ongoing_requests=settings.max_queue,
        health_check_period_s=_HEALTH_CHECK_S,
        graceful_shutdown_timeout_s=settings.deadline_s + settings.body_timeout_s,
        ray_actor_options={"num_cpus": cpus_of(settings), "num_gpus": settings.opening.gpus},
    )
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    if serve.status().proxies:
        raise UsageError(
            "Ray Serve already runs on this cluster, for others; stop it there with `serve shutdown`, or use "
            "another cluster"
        )
    try:
        serve.start(http_options={"host": settings.host, "port": settings.port})
        serve.run(as_deployment(serve.ingress()(Replica)).bind(settings, dict(models)), name=APP_NAME, route_prefix="/")
    except RuntimeError as error:
        raise UsageError(f"Ray Serve cannot start the application: {first_line(error)}") from error


def stop_application() -> None:
    """Lets the replicas finish their requests, then ends them and the proxies."""
    from ray import serve

    serve.shutdown()  # type: ignore[no-untyped-call]


class Replica:
    """One server process: everything `torchless serve` runs except the socket."""

    def __init__(self, settings: Settings, models: Mapping[Key, Any]) -> None:
        import ray

        configure_process(settings, image_threads=cpus_of(settings))
        with ModelFolder() as folder:  # gone once the models are in memory: Ray ends processes without asking
            pinned = {key: _written(ray.get(files), folder, key) for key, files in models.items()}
            own = replace(
                settings,
                models=(),
                workers=1,
                max_cpus=cpus_of(settings),
                pinned=pinned,
            )
            registry = Registry(own)
            registry.load_all()
            for model in registry.all():
                model.warm_up()  # opens all its sessions
        self._service = make_service(own, registry)

    def __serve_build_asgi_app__(self) -> Starlette:
        return create_app(self._service)

    async def check_health(self) -> None:
        """Ray Serve sends no requests before this has returned once, which is when everything is warmed up."""
        while not (self._service.ready or self._service.stopping):
            await asyncio.sleep(_POLL_S)


def _written(files: ModelFiles, folder: ModelFolder, key: Key) -> Origin:
    """Of its files, the model itself is the first."""
    return Origin(folder.write(files, f"{key.name}.{key.version}") / next(iter(files)))


class CleanErrors:
    """ASGI middleware of the proxy: a request whose replica died gets a JSON error that a client can act on."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        await self._app(scope, receive, noting_send)
        if scope["type"] == "http" and not started:
            message = "the server process that worked on this request ended; send it again"
            await error_response(503, message, {"retry-after": "1"})(scope, receive, send)


def around_proxy() -> list[Middleware]:
    """The middleware of Ray Serve's proxies (PROXY_VARIABLE)."""
    return [Middleware(CleanErrors)]


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """An event that SIGTERM or SIGINT sets, while the block runs. (Ray takes SIGTERM for itself when it connects.)"""
    told = threading.Event()
    before = {number: signal.signal(number, lambda *_: told.set()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
