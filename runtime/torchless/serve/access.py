"""The outermost layer: who may ask, how unforeseen errors look, and what is logged and counted for every request."""

import hmac
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from torchless.serve.hosts import Hosts
from torchless.serve.logs import request_log
from torchless.serve.prefix import Prefix
from torchless.serve.service import Service

_LOG = logging.getLogger("torchless.serve")
_OPEN = frozenset({"/", "/docs", "/openapi.json", "/v2/health/live", "/v2/health/ready"})
_OPEN_FOLDER = "/page/"


class Keys:
    """The API keys, if there are any."""

    def __init__(self, keys: Sequence[str]) -> None:
        self._keys = [key.encode() for key in keys]

    def fit(self, authorization: str) -> bool:
        """Whether the header has one of them, or none is needed. Compares with every key, each in constant time."""
        scheme, _, given = authorization.partition(" ")
        matches = [hmac.compare_digest(given.strip().encode(), key) for key in self._keys]
        return not self._keys or (scheme.lower() == "bearer" and any(matches))


class Access:
    """ASGI middleware. `endpoints` maps handlers to the paths that logs and counters show for them."""

    def __init__(self, app: ASGIApp, *, service: Service, endpoints: Mapping[Any, str]) -> None:
        self._app, self._service, self._endpoints = app, service, endpoints
        self._keys = Keys(service.settings.api_keys)
        settings = service.settings
        self._hosts = Hosts(
            settings.host, settings.allowed_hosts, settings.cors_origins, any_host=bool(settings.api_keys)
        )
        self._prefix = Prefix(settings.root_path, settings.trusted_proxies)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        scope = self._within_prefix(scope)

        async def noting_send(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._service.stopping:  # so that the client's next request goes to another server
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            await (self._refusal(scope) or self._app)(scope, receive, noting_send)
        except Exception:  # a defect of ours: logged in full, and hidden from the client
            _LOG.exception("unforeseen error in %s %s", scope["method"], scope["path"])
            if not status:
                await error_response(500, "internal error; the server's log has the details")(
                    scope, receive, noting_send
                )
        finally:
            self._record(scope, status, time.perf_counter() - start)

    def _within_prefix(self, scope: Scope) -> Scope:
        """The scope as if there were no prefix; "torchless.prefix" is the prefix."""
        client = scope["client"][0] if scope.get("client") else None
        prefix, path = self._prefix.split(scope["path"], client, scope["headers"])
        return {**scope, "path": path, "torchless.prefix": prefix}

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        old = scope["http_version"] == "1.0"
        if refusal := self._hosts.refusal(headers.getlist("host"), headers.getlist("origin"), old=old):
            return error_response(*refusal)
        if not scope["path"]:  # relative links of the page need the slash
            return Response(status_code=308, headers={"location": f"{scope['torchless.prefix']}/"})
        if (
            not self._is_open(scope["path"])
            and scope["method"] != "OPTIONS"
            and not self._keys.fit(headers.get("authorization", ""))
        ):
            return error_response(
                401, "an API key is required: Authorization: Bearer KEY", {"www-authenticate": "Bearer"}
            )
        return None

    @staticmethod
    def _is_open(path: str) -> bool:
        return path in _OPEN or path.startswith(_OPEN_FOLDER)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        endpoint, model = self._endpoints.get(scope.get("endpoint"), "other"), scope.get("torchless.model")
        self._service.metrics.request_done(endpoint, model, status, seconds)
        request_log(scope, status, seconds, model)


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> Response:
    """An error in the form of the Open Inference Protocol."""
    return Response(orjson.dumps({"error": message}), status, dict(headers or {}), "application/json")
