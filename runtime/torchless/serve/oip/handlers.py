"""The endpoints of the Open Inference Protocol v2 and of Triton's repository extension.

Each artifact is two models of the protocol: NAME takes tensors, NAME_image takes encoded images.
"""

import asyncio
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, ParamSpec, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.responses import Response

from torchless.errors import InferenceError, TorchlessError
from torchless.serve.documents import PARSED_AT_ONCE, load_document
from torchless.serve.errors import NotAllowedError, NotFoundError, RequestError, status_of
from torchless.serve.jobs import ImageLogits, Outcome
from torchless.serve.models import IMAGE_SUFFIX, ServedModel
from torchless.serve.oip.parse import encode_response, parse_request
from torchless.serve.oip.tensors import VERSION, Datatype, Interface, json_object
from torchless.serve.service import Service

P = ParamSpec("P")
T = TypeVar("T")
JSON_LENGTH = "inference-header-content-length"

_ENCODED_AT_ONCE = 1 << 14  # numbers or texts of an answer: more are written in a thread
_EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]


class OipHandlers:
    """The endpoints of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def server(self, request: Request) -> Response:
        return _json({"name": "torchless", "version": version("torchless"), "extensions": _EXTENSIONS})

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        ready = self._service.ready
        return _json({"ready": ready}, 200 if ready else 503)

    async def model(self, request: Request) -> Response:
        return _json(self._interface(request)[1].metadata())

    async def model_ready(self, request: Request) -> Response:
        name, ready = self._interface(request)[1].model, self._service.ready
        return _json({"name": name, "ready": ready}, 200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        model, interface = self._interface(request)
        request.scope["torchless.model"] = model.name
        json_length = _json_length(request.headers.get(JSON_LENGTH))
        async with self._service.bodies.read(request) as body:
            asked = await _in_thread_if(len(body) > PARSED_AT_ONCE, parse_request, body, json_length, interface)
            outcomes = await self._service.outcomes(request, model, asked.sources, asked.timeout_s)
        logits = stacked(outcomes, interface)
        size = len(logits) * min(asked.output.classes or logits.shape[1], logits.shape[1])
        content, length = await _in_thread_if(size > _ENCODED_AT_ONCE, encode_response, asked, logits, interface)
        if length is None:
            return Response(content, media_type="application/json")
        return Response(content, headers={JSON_LENGTH: str(length)}, media_type="application/octet-stream")

    async def index(self, request: Request) -> Response:
        """POST /v2/repository/index: which models could be loaded, and which are."""
        registry = self._service.registry
        async with self._service.bodies.read(request) as body:
            only_ready = _index_request(await _optional_object(body))
        loaded = {model.name for model in registry.all()}
        names = sorted(loaded if only_ready else loaded | await self._service.model_names())
        rows = [
            {"name": name + suffix, "version": VERSION, "state": "READY", "reason": ""}
            if name in loaded
            else {"name": name + suffix}
            for name in names
            for suffix in ("", IMAGE_SUFFIX)
        ]
        return _json(rows)

    async def load(self, request: Request) -> Response:
        """Loads or reloads a model from its file. The old one serves until the new one is ready, and stays if loading
        fails.
        """
        name = self._controlled(request)
        async with self._service.bodies.read(request) as body:
            _no_parameters(await _optional_object(body))
        await self._service.load(name)
        return Response()

    async def unload(self, request: Request) -> Response:
        name = self._controlled(request)
        async with self._service.bodies.read(request):
            self._service.registry.unload(name)
        return Response()

    def _controlled(self, request: Request) -> str:
        if not self._service.settings.allow_model_control:
            raise NotAllowedError(
                "loading and unloading by request is turned off; the operator can allow it (allow_model_control)"
            )
        return self._service.registry.file_name(request.path_params["model"])

    def _interface(self, request: Request) -> tuple[ServedModel, Interface]:
        """The model that the path names, and its interface. Raises NotFoundError."""
        name, asked_version = request.path_params["model"], request.path_params.get("version", VERSION)
        model, encoded = self._service.registry.resolve(name)
        if asked_version != VERSION:
            raise NotFoundError(f"{name} has no version {asked_version!r}; it has {VERSION}")
        manifest = model.classifier.manifest
        pixels, prepared = manifest.input.takes_pixels, (manifest.preprocess.channels, *manifest.image_size)
        tensor_type: Datatype = "UINT8" if pixels else "FP32"
        return model, Interface(
            model=name,
            input_name="image" if encoded else manifest.input.name,
            datatype="BYTES" if encoded else tensor_type,
            input_shape=(-1,) if encoded else (-1, -1, -1, 3) if pixels else (-1, *prepared),
            output_name=manifest.output.name,
            labels=model.classifier.head.output_labels,
            max_images=self._service.settings.max_queue,
        )


async def _in_thread_if(long: bool, function: Callable[P, T], *arguments: P.args, **keywords: P.kwargs) -> T:
    """Short work is done at once, long work in a thread, so that others are served meanwhile."""
    return await asyncio.to_thread(function, *arguments, **keywords) if long else function(*arguments, **keywords)


def _json(document: object, status: int = 200) -> Response:
    return Response(orjson.dumps(document), status, media_type="application/json")


def _json_length(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 12):
        raise RequestError(f"Inference-Header-Content-Length: expected a number of bytes, got {text[:40]!r}")
    return int(text)


def stacked(outcomes: list[Outcome], interface: Interface) -> NDArray[np.float32]:
    """All rows. The protocol has no place for one that failed, so the first failure fails the request."""
    rows = []
    for i, outcome in enumerate(outcomes):
        if not isinstance(outcome, ImageLogits):
            raise _ImageFailedError(i, outcome, interface)
        rows.append(outcome.logits)
    logits = np.stack(rows)
    if not np.isfinite(logits).all():
        if interface.datatype == "FP32":
            raise RequestError("the model's output for these numbers contains NaN or infinity")
        raise InferenceError("the model's output contains NaN or infinity")
    return logits


class _ImageFailedError(RequestError):
    def __init__(self, index: int, error: Exception, interface: Interface) -> None:
        super().__init__(f"{interface.input_name}[{index}]: {error}")
        self.status = status_of(error) if isinstance(error, TorchlessError) else 500  # type: ignore[misc]


def _index_request(document: dict[str, Any]) -> bool:
    """Whether the request asks only for models that are ready."""
    ready = document.get("ready", False)
    if not isinstance(ready, bool):
        raise RequestError("ready: expected true or false")
    return ready


def _no_parameters(document: dict[str, Any]) -> None:
    """Triton's load can bring another configuration, or whole files; here a model is what its file says."""
    if document.get("parameters"):
        raise RequestError("load takes no parameters: a model is loaded only from the operator's file")


async def _optional_object(body: bytes) -> dict[str, Any]:
    document = await _in_thread_if(len(body) > PARSED_AT_ONCE, load_document, body or b"{}")
    return json_object(document.root, "the request")
