"""torchless's own endpoints: POST /classify, GET /models, GET /metrics."""

import orjson
from starlette.requests import Request
from starlette.responses import Response

from torchless.engine.results import Result
from torchless.errors import InferenceError, TorchlessError
from torchless.serve.bodies import files_of
from torchless.serve.errors import RequestError, status_of
from torchless.serve.jobs import ImageLogits, Outcome
from torchless.serve.metrics import CONTENT_TYPE
from torchless.serve.models import ServedModel
from torchless.serve.service import Service


class ApiHandlers:
    """The endpoints of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def classify(self, request: Request) -> Response:
        """A body that is one image gives one row. A multipart body gives a list with a row for each file."""
        top_k = _top_k(request.query_params.get("top_k"))
        model = self._service.registry.get(request.query_params.get("model"))
        request.scope["torchless.model"] = model.name
        async with self._service.bodies.read(request) as body:
            several = request.headers.get("content-type", "").lower().startswith("multipart/form-data")
            files = await files_of(request, body) if several else [(None, body)]
            outcomes = await self._service.outcomes(request, model, [data for _, data in files])
        results = [_result(model, name, outcome, top_k) for (name, _), outcome in zip(files, outcomes, strict=True)]
        status = 200 if several or results[0].ok else status_of(_as_error(outcomes[0]))
        rows = [result.to_dict() for result in results]
        headers = {"server-timing": _server_timing(outcomes)}
        if not model.classifier.manifest.is_trained:
            headers["torchless-warning"] = "untrained model: the predictions mean nothing"
        return Response(orjson.dumps(rows if several else rows[0]), status, headers, "application/json")

    async def models(self, request: Request) -> Response:
        """The loaded models, for people and for the page."""
        return Response(
            orjson.dumps([model.describe() for model in self._service.registry.all()]), media_type="application/json"
        )

    async def metrics(self, request: Request) -> Response:
        """Counters for Prometheus."""
        self._service.metrics.models(await self._service.files_changed())
        return Response(self._service.metrics.page(), media_type=CONTENT_TYPE)


def _top_k(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise RequestError(f"top_k: expected a whole number from 1, got {text[:40]!r}")
    return int(text)


def _result(model: ServedModel, name: str | None, outcome: Outcome, top_k: int | None) -> Result:
    if isinstance(outcome, ImageLogits):
        try:
            return model.classifier.rank(name, outcome.logits, top_k)
        except InferenceError as error:
            outcome = error
    return model.classifier.head.failure(name, str(outcome))


def _as_error(outcome: Outcome) -> TorchlessError:
    return outcome if isinstance(outcome, TorchlessError) else InferenceError()


def _server_timing(outcomes: list[Outcome]) -> str:
    """The W3C header, in milliseconds. With several images, each stage shows the slowest."""
    timings = [outcome.timings for outcome in outcomes if isinstance(outcome, ImageLogits)]
    stages = ("queue", "decode", "preprocess", "inference")
    return (
        ", ".join(f"{stage};dur={max(getattr(timing, stage) for timing in timings) * 1000:.2f}" for stage in stages)
        if timings
        else ""
    )
