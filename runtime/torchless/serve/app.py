"""The ASGI application: its routes, and the lifetime of the service behind them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, suppress
from importlib.resources import files

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from torchless import palette
from torchless.errors import TorchlessError
from torchless.serve.access import Access, error_response
from torchless.serve.api import ApiHandlers
from torchless.serve.errors import RequestError, status_of
from torchless.serve.oip.handlers import JSON_LENGTH, OipHandlers
from torchless.serve.openapi import openapi_json
from torchless.serve.service import Service

# A page loads everything from this server, and shows images from the visitor's own files.
_PAGE_HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' blob: data:; base-uri 'none'; form-action "
    "'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
}
_MEDIA_TYPES = {"html": "text/html", "js": "text/javascript", "css": "text/css"}


def create_app(service: Service) -> Starlette:
    """The application of one process."""
    routes = [*_routes(ApiHandlers(service), OipHandlers(service)), *_page_routes()]
    middleware = [
        Middleware(Access, service=service, endpoints={route.endpoint: route.path for route in reversed(routes)})
    ]
    if service.settings.cors_origins:
        middleware.append(
            Middleware(
                _Cors,
                allow_origins=service.settings.cors_origins,
                allow_methods=["GET", "POST"],
                allow_headers=["authorization", "content-type", JSON_LENGTH],
                expose_headers=["server-timing", "torchless-warning", JSON_LENGTH],
            )
        )

    @asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        service.start()
        async with _grpc(service):
            warming = asyncio.create_task(service.warm_up())
            yield
            service.stop()
            warming.cancel()
            with suppress(asyncio.CancelledError):
                await warming
        await service.close()

    handlers = {TorchlessError: _foreseen, HTTPException: _http_error}
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=handlers, lifespan=lifespan)  # type: ignore[arg-type]
    app.router.redirect_slashes = False
    return app


class _Cors(CORSMiddleware):
    """Starlette's, which says in JSON what it refuses."""

    def preflight_response(self, request_headers: Headers) -> Response:
        response = super().preflight_response(request_headers)
        return response if response.status_code < 400 else error_response(400, bytes(response.body).decode())


def _grpc(service: Service) -> AbstractAsyncContextManager[None]:
    if service.settings.grpc_port is None:
        return nullcontext()
    from torchless.serve.grpc.server import serving  # only where it was asked for

    return serving(service, service.settings.grpc_port)


def _routes(api: ApiHandlers, oip: OipHandlers) -> list[Route]:
    model, model_version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    return [
        Route("/classify", api.classify, methods=["POST"]),
        Route("/models", api.models),
        Route("/metrics", api.metrics),
        Route("/openapi.json", _openapi),
        Route("/v2", oip.server),
        Route("/v2/health/live", oip.live),
        Route("/v2/health/ready", oip.ready),
        Route("/v2/repository/index", oip.index, methods=["POST"]),
        Route("/v2/repository/models/{model}/load", oip.load, methods=["POST"]),
        Route("/v2/repository/models/{model}/unload", oip.unload, methods=["POST"]),
        Route("/v2/models/stats", oip.statistics),
        *(Route(path, oip.model) for path in (model, model_version)),
        *(Route(f"{path}/ready", oip.model_ready) for path in (model, model_version)),
        *(Route(f"{path}/config", oip.configuration) for path in (model, model_version)),
        *(Route(f"{path}/stats", oip.statistics) for path in (model, model_version)),
        *(Route(f"{path}/infer", oip.infer, methods=["POST"]) for path in (model, model_version)),
    ]


def _page_routes() -> list[Route]:
    """/, /docs, and what they load. The files are read once, and a path in a request never becomes a path on disk."""
    paths = {"index.html": "/", "docs.html": "/docs"}
    return [
        Route(paths.get(name, f"/page/{name}"), _file_handler(content, name.rpartition(".")[2]))
        for name, content in page_files().items()
    ]


def page_files() -> dict[str, bytes]:
    """The files of the pages, by name; the style sheet begins with the palette."""
    found = {file.name: file.read_bytes() for file in (files("torchless.serve") / "page").iterdir()}
    return found | {"style.css": palette.css().encode() + found["style.css"]}


def _file_handler(content: bytes, ending: str) -> Callable[[Request], Awaitable[Response]]:
    async def handler(request: Request) -> Response:
        return Response(content, headers=_PAGE_HEADERS, media_type=_MEDIA_TYPES[ending])

    return handler


async def _openapi(request: Request) -> Response:
    return Response(openapi_json(request.scope["torchless.prefix"]), media_type="application/json")


async def _foreseen(request: Request, error: TorchlessError) -> Response:
    return error_response(status_of(error), str(error), error.headers if isinstance(error, RequestError) else None)


async def _http_error(request: Request, error: HTTPException) -> Response:
    return error_response(error.status_code, f"{error.detail}: {request.method} {request.url.path}", error.headers)
