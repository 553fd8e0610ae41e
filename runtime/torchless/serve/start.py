"""The start of `torchless serve`: one process, or several."""

import logging

from torchless.cpus import available_cpus
from torchless.serve.process import configure_process, leave_now
from torchless.serve.registry import Registry
from torchless.serve.server import Server, announce, end, listen, make_service
from torchless.serve.settings import Settings
from torchless.serve.workers import serve_in_workers

_LOG = logging.getLogger("torchless.serve")


def serve(settings: Settings) -> None:
    """Serves until SIGTERM, SIGHUP or SIGINT, then finishes what it accepted.

    Raises ArtifactError, DeviceError or UsageError before it listens.
    """
    configure_process(settings, image_threads=available_cpus())
    registry = Registry(settings)
    registry.load_all()
    if settings.grpc_port:
        listen(settings.host, settings.grpc_port).close()  # only to check that it can be
    with listen(settings.host, settings.port) as listener:
        address = listener.getsockname()[:2]
        if settings.workers > 1:
            serve_in_workers(settings, registry, listener, lambda: announce(settings, registry, *address))
            _LOG.info("stopped")
            if registry.busy:
                leave_now(0)
            return
        announce(settings, registry, *address)
        service = make_service(settings, registry)
        server = Server(settings, service)
        server.run([listener])
        end(service, forced=server.force_exit)
