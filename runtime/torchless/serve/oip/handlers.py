"""The endpoints of the Open Inference Protocol v2 and of Triton's extensions over HTTP."""

from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from torchless.serve.documents import PARSED_AT_ONCE, in_thread_if, load_document
from torchless.serve.errors import RequestError
from torchless.serve.models import ServedModel
from torchless.serve.oip.catalogue import Catalogue
from torchless.serve.oip.parse import encode_response, parse_request
from torchless.serve.oip.tensors import Interface, json_object
from torchless.serve.service import Service

JSON_LENGTH = "inference-header-content-length"

_ENCODED_AT_ONCE = 1 << 14  # numbers or texts of an answer: more are written in a thread


class OipHandlers:
    """The endpoints of one service."""

    def __init__(self, service: Service) -> None:
        self._service, self._catalogue = service, Catalogue(service)

    async def server(self, request: Request) -> Response:
        return _json(self._catalogue.server())

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._catalogue.ready
        return _json({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        return _json(self._interface(request)[1].metadata())

    async def model_ready(self, request: Request) -> Response:
        name, ready = self._interface(request)[1].model, self._catalogue.ready
        return _json({"name": name, "ready": ready}, 200 if ready else 503)

    async def configuration(self, request: Request) -> Response:
        return _json(self._catalogue.configuration(*_asked(request)))

    async def statistics(self, request: Request) -> Response:
        return _json(self._catalogue.statistics(*_asked(request)))

    async def infer(self, request: Request) -> Response:
        model, interface = self._interface(request)
        request.scope["torchless.model"] = model
        json_length = _json_length(request.headers.get(JSON_LENGTH))
        async with self._service.bodies.read(request) as body:
            asked = await in_thread_if(len(body) > PARSED_AT_ONCE, parse_request, body, json_length, interface)
            logits = await self._catalogue.outputs(request, model, asked, interface)
        size = len(logits) * min(asked.output.classes or logits.shape[1], logits.shape[1])
        content, length = await in_thread_if(size > _ENCODED_AT_ONCE, encode_response, asked, logits, interface)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, headers={JSON_LENGTH: str(length)}, media_type="application/octet-stream")

    async def index(self, request: Request) -> Response:
        """POST /v2/repository/index: which models could be loaded, and which are."""
        async with self._service.bodies.read(request) as body:
            only_ready = (await _optional_object(body)).get("ready", False)
        if not isinstance(only_ready, bool):
            raise RequestError("ready: expected true or false")
        return _json(await self._catalogue.index(only_ready=only_ready))

    async def load(self, request: Request) -> Response:
        self._catalogue.check_control()
        async with self._service.bodies.read(request) as body:
            parameters = (await _optional_object(body)).get("parameters")
        await self._catalogue.load(request.path_params["model"], parameters)
        return Response()

    async def unload(self, request: Request) -> Response:
        self._catalogue.check_control()
        async with self._service.bodies.read(request):
            self._catalogue.unload(request.path_params["model"])
        return Response()

    def _interface(self, request: Request) -> tuple[ServedModel, Interface]:
        return self._catalogue.interface(*_asked(request))


def _asked(request: Request) -> tuple[str, str]:
    """The model and the version that the path names; an empty name if it is for all models."""
    return request.path_params.get("model", ""), request.path_params.get("version", "")


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _json_length(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise RequestError(f"Inference-Header-Content-Length: expected a number of bytes, got {text[:40]!r}")
    return int(text)


async def _optional_object(body: bytes) -> dict[str, Any]:
    document = await in_thread_if(len(body) > PARSED_AT_ONCE, load_document, body or b"{}")
    return json_object(document.root, "the request")
