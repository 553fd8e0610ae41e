"""What the protocol's endpoints answer, over HTTP and over gRPC: models and their metadata, configuration, statistics
and repository, and a request's outputs.

Each artifact is two models of the protocol: NAME takes tensors, NAME_image takes encoded images.
"""

from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request

from torchless.errors import InferenceError, TorchlessError
from torchless.serve.errors import NotAllowedError, RequestError, status_of
from torchless.serve.jobs import ImageLogits, Outcome
from torchless.serve.models import ServedModel
from torchless.serve.oip.parse import InferRequest
from torchless.serve.oip.tensors import Datatype, Interface
from torchless.serve.repository import IMAGE_SUFFIX, Key
from torchless.serve.service import Service

_EXTENSIONS = ["binary_tensor_data", "classification", "model_configuration", "model_repository", "statistics"]


class Catalogue:
    """The models of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    @property
    def ready(self) -> bool:
        return self._service.ready

    @staticmethod
    def server() -> dict[str, Any]:
        """The server's metadata."""
        return {"name": "torchless", "version": version("torchless"), "extensions": _EXTENSIONS}

    def interface(self, name: str, asked_version: str = "") -> tuple[ServedModel, Interface]:
        """The model of that name in the protocol, and how it is asked. Raises NotFoundError."""
        registry = self._service.registry
        model, encoded = registry.resolve(name, asked_version)
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
            version=model.version,
            versions=tuple(each.version for each in reversed(registry.versions(model.name))),
        )

    async def outputs(
        self, request: Request | None, model: ServedModel, asked: InferRequest, interface: Interface
    ) -> NDArray[np.float32]:
        """float32 (N, classes), finite. The protocol has no place for an image that failed, so the first one fails the
        request. Raises RequestError and InferenceError; see Service.outcomes.
        """
        return _stacked(await self._service.outcomes(request, model, asked.sources, asked.timeout_s), interface)

    def configuration(self, name: str, asked_version: str = "") -> dict[str, Any]:
        """As Triton's ModelConfig. Raises NotFoundError."""
        model, interface = self.interface(name, asked_version)
        settings = self._service.settings
        return interface.configuration() | {
            "backend": "torchless",
            "version_policy": {"all": {}} if settings.versions == "all" else {"latest": {"num_versions": 1}},
            "instance_group": [{"name": name, "kind": "KIND_GPU" if model.exclusive else "KIND_CPU", "count": 1}],
            "dynamic_batching": {
                "preferred_batch_size": [model.max_batch_size],
                "max_queue_delay_microseconds": round(settings.batch_delay_ms * 1000),
            },
        }

    def statistics(self, name: str | None = None, asked_version: str = "") -> dict[str, Any]:
        """As Triton's statistics extension: of one model, or of all. Raises NotFoundError."""
        registry = self._service.registry
        models = registry.all()
        if name:
            model, _ = registry.resolve(name, asked_version)
            models = [model] if asked_version else [*registry.versions(model.name)]
        asked = [(each, model.version) for model in models for each in ([name] if name else _names(model.name))]
        return {
            "model_stats": [
                {"name": each, "version": version, **self._service.statistics[each, version].document()}
                for each, version in asked
            ]
        }

    async def index(self, *, only_ready: bool) -> list[dict[str, str]]:
        """Which versions could be loaded, and which are; and why a file that has changed, or is new, was refused."""
        registry = self._service.registry
        found = [] if only_ready else await self._service.found()
        refused, loaded = registry.refused, {model.key for model in registry.all()}
        return [
            {"name": name, **_state(key, ready=key in loaded, refused=refused.get(key))}
            for key in sorted(loaded | {*found})
            for name in _names(key.name)
        ]

    async def load(self, name: str, parameters: Any) -> None:
        """Loads or reloads a model from its file. The old one serves until the new one is ready, and stays if loading
        fails. Raises RequestError.
        """
        self.check_control()
        if parameters:  # Triton's can bring another configuration, or whole files; here a model is what its file says
            raise RequestError("load takes no parameters: a model is loaded only from the operator's file")
        await self._service.load(name)

    def unload(self, name: str) -> None:
        """Raises RequestError."""
        self.check_control()
        self._service.registry.unload(name)

    def check_control(self) -> None:
        """Raises NotAllowedError unless the operator lets requests load and unload."""
        if not self._service.settings.allow_model_control:
            raise NotAllowedError(
                "loading and unloading by request is turned off; the operator can allow it (--allow-model-control)"
            )


def _names(name: str) -> list[str]:
    return [name + suffix for suffix in ("", IMAGE_SUFFIX)]


def _state(key: Key, *, ready: bool, refused: str | None) -> dict[str, str]:
    """As Triton has it, where what was never loaded has no state."""
    version = {"version": str(key.version)}
    if not ready and refused is None:
        return version
    return version | {"state": "READY" if ready else "UNAVAILABLE", "reason": refused or ""}


def _stacked(outcomes: Sequence[Outcome], interface: Interface) -> NDArray[np.float32]:
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
