"""The methods of GRPCInferenceService, and of gRPC's health protocol, which Kubernetes asks."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import json_format

from torchless.serve.documents import PARSED_AT_ONCE, in_thread_if
from torchless.serve.errors import NotFoundError
from torchless.serve.grpc.calls import Answer, Calls, Reply
from torchless.serve.grpc.inference import infer_request, infer_response
from torchless.serve.grpc.messages import SERVICE, message_class
from torchless.serve.oip.catalogue import Catalogue
from torchless.serve.service import Service

_HEALTH = "grpc.health.v1.Health"
_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"  # HealthCheckResponse with status 1 and 2


class Methods:
    """What each method answers: the same as HTTP's endpoints."""

    def __init__(self, service: Service) -> None:
        self._catalogue = Catalogue(service)

    def open(self) -> dict[str, Callable[[], bytes]]:
        """Those that need no key, and read nothing of their message: path → answer."""
        catalogue = self._catalogue
        return {
            f"/{SERVICE}/ServerLive": lambda: _message("ServerLiveResponse", live=True),
            f"/{SERVICE}/ServerReady": lambda: _message("ServerReadyResponse", ready=catalogue.ready),
            f"/{_HEALTH}/Check": lambda: _SERVING if catalogue.ready else _NOT_SERVING,
        }

    def others(self) -> dict[str, Answer]:
        """By the method's name."""
        return {
            "ModelReady": self.model_ready,
            "ServerMetadata": self.server_metadata,
            "ModelMetadata": self.model_metadata,
            "ModelConfig": self.model_config,
            "ModelStatistics": self.model_statistics,
            "ModelInfer": self.model_infer,
            "RepositoryIndex": self.repository_index,
            "RepositoryModelLoad": self.repository_model_load,
            "RepositoryModelUnload": self.repository_model_unload,
        }

    async def model_ready(self, asked: Any, context: Any) -> Reply:
        """A model that there is not is not ready, as in Triton."""
        try:
            self._catalogue.interface(*_model(asked))
        except NotFoundError:
            return _message("ModelReadyResponse", ready=False), None
        return _message("ModelReadyResponse", ready=self._catalogue.ready), None

    async def server_metadata(self, asked: Any, context: Any) -> Reply:
        return _message("ServerMetadataResponse", **self._catalogue.server()), None

    async def model_metadata(self, asked: Any, context: Any) -> Reply:
        return _message("ModelMetadataResponse", **self._catalogue.interface(*_model(asked))[1].metadata()), None

    async def model_config(self, asked: Any, context: Any) -> Reply:
        return _message("ModelConfigResponse", config=self._catalogue.configuration(*_model(asked))), None

    async def model_statistics(self, asked: Any, context: Any) -> Reply:
        return _message("ModelStatisticsResponse", **self._catalogue.statistics(*_model(asked))), None

    async def model_infer(self, asked: Any, context: Any) -> Reply:
        model, interface = self._catalogue.interface(asked.model_name, asked.model_version)
        request = await in_thread_if(asked.ByteSize() > PARSED_AT_ONCE, infer_request, asked, interface)
        del asked
        logits = await self._catalogue.outputs(None, model, request, interface)
        response = await in_thread_if(request.output.classes > 0, infer_response, request, logits, interface)
        return response.SerializeToString(), model

    async def repository_index(self, asked: Any, context: Any) -> Reply:
        models = await self._catalogue.index(only_ready=asked.ready)
        return _message("RepositoryIndexResponse", models=models), None

    async def repository_model_load(self, asked: Any, context: Any) -> Reply:
        await self._catalogue.load(asked.model_name, dict(asked.parameters))
        return _message("RepositoryModelLoadResponse"), None

    async def repository_model_unload(self, asked: Any, context: Any) -> Reply:
        self._catalogue.unload(asked.model_name)
        return _message("RepositoryModelUnloadResponse"), None


def handlers(service: Service) -> Any:
    """All methods, for grpc.aio.Server.add_generic_rpc_handlers."""
    calls, methods = Calls(service), Methods(service)
    found = {path: calls.method(path, None, _open(answer)) for path, answer in methods.open().items()}
    for name, answer in methods.others().items():
        path = f"/{SERVICE}/{name}"
        found[path] = calls.method(path, message_class(f"{name}Request"), answer)
    return _Handlers({path: grpc.stream_unary_rpc_method_handler(handler) for path, handler in found.items()})


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, handlers: dict[str, Any]) -> None:
        self._handlers = handlers

    def service(self, handler_call_details: Any) -> Any:
        """The handler of a method; None answers UNIMPLEMENTED."""
        return self._handlers.get(handler_call_details.method)


def _open(answer: Callable[[], bytes]) -> Answer:
    async def with_arguments(asked: Any, context: Any) -> Reply:
        return answer(), None

    return with_arguments


def _message(name: str, /, **fields: Any) -> bytes:
    """A message of the protocol, from what HTTP answers as JSON."""
    content: bytes = json_format.ParseDict(fields, message_class(name)()).SerializeToString()
    return content


def _model(asked: Any) -> tuple[str, str]:
    return asked.name, asked.version
