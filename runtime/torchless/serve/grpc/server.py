"""The gRPC server: in the event loop of the HTTP server, on a port of its own."""

import logging
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc

from torchless.errors import UsageError
from torchless.serve.grpc.service import handlers
from torchless.serve.service import Service
from torchless.serve.settings import Settings

_LOG = logging.getLogger("torchless.serve")
_IDLE_MS = 300_000


@asynccontextmanager
async def serving(service: Service, port: int) -> AsyncIterator[None]:
    """Serves while the block runs; at its end, calls that were accepted are finished. Raises UsageError."""
    settings = service.settings
    server = grpc.aio.server(
        options=_options(settings), maximum_concurrent_rpcs=settings.max_connections, compression=None
    )
    server.add_generic_rpc_handlers((handlers(service),))
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    try:
        service.grpc_port = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError:
        raise UsageError(f"cannot listen on {settings.host} port {port} for gRPC (`grpc_port`)") from None
    await server.start()
    _LOG.info("listening on grpc://%s:%d", host, service.grpc_port)
    try:
        yield
    finally:
        await server.stop(math.ceil(settings.deadline_s + settings.body_timeout_s))


def _options(settings: Settings) -> list[tuple[str, int]]:
    return [
        ("grpc.max_receive_message_length", settings.max_body_bytes),
        ("grpc.max_send_message_length", -1),
        ("grpc.max_connection_idle_ms", _IDLE_MS),
        ("grpc.server_handshake_timeout_ms", math.ceil(settings.header_timeout_s * 1000)),
        ("grpc.so_reuseport", int(settings.workers > 1)),
    ]
