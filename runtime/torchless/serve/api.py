"""torchless's own endpoints: POST /classify, GET /models, GET /metrics."""

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import replace

import orjson
from starlette.requests import Request
from starlette.responses import Response

from torchless.engine.results import Result
from torchless.errors import ImageDecodeError, ImageError, InferenceError, TorchlessError
from torchless.image.value_range import for_clients
from torchless.serve.errors import RequestError, status_of
from torchless.serve.jobs import ImageLogits, Outcome
from torchless.serve.metrics import CONTENT_TYPE
from torchless.serve.models import ServedModel
from torchless.serve.reasons import no_image
from torchless.serve.service import Service
from torchless.serve.uploads import Upload, is_parsed, is_quick, media_type, parse_upload

_MANY = 1000  # predictions: ranking and writing them takes a few milliseconds


class ApiHandlers:
    """The endpoints of one service."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def classify(self, request: Request) -> Response:
        """A body that is one image, or JSON with one, gives one row; a form, or JSON with a list, a list of rows."""
        _check_query(request.query_params.keys())
        top_k = _top_k(request.query_params.get("top_k"))
        model = self._service.registry.named(request.query_params.get("model"))
        request.scope["torchless.model"] = model
        content_type = request.headers.get("content-type", "")
        async with self._service.bodies.read(request) as body:
            upload = await self._upload(content_type, body)
            del body  # images that were parsed are copies
            outcomes = await self._outcomes(request, model, upload)
        headers = {"server-timing": _server_timing(outcomes)}
        if not model.classifier.manifest.is_trained:
            headers["torchless-warning"] = "untrained model: the predictions mean nothing"
        names = [name for name, _ in upload.images]
        rows = _rows(model, names, outcomes, top_k)
        few = len(names) * (model.classifier.head.limit(top_k) or _MANY) < _MANY
        texts, well = zip(*(rows if few else await asyncio.to_thread(lambda: list(rows))), strict=True)
        status = 200 if upload.several or all(well) else status_of(_as_error(outcomes[0]))
        content = b"[" + b",".join(texts) + b"]" if upload.several else texts[0]
        return Response(content, status, headers, "application/json")

    async def _upload(self, content_type: str, body: bytes) -> Upload:
        if not is_parsed(content_type):
            return Upload([(None, body)], several=False, kind=media_type(content_type))
        work = content_type, body, self._service.settings.max_queue
        return parse_upload(*work) if is_quick(content_type, body) else await asyncio.to_thread(parse_upload, *work)

    async def _outcomes(self, request: Request, model: ServedModel, upload: Upload) -> list[Outcome]:
        images = [image for _, image in upload.images if isinstance(image, bytes)]
        found = iter(await self._service.outcomes(request, model, images) if images else ())
        outcomes = [next(found) if isinstance(image, bytes) else image for _, image in upload.images]
        return outcomes if upload.kind is None else [_explained(outcomes[0], upload.kind, images[0])]

    async def models(self, request: Request) -> Response:
        """The loaded models, for people and for the page."""
        return Response(
            orjson.dumps([model.describe() for model in self._service.registry.all()]), media_type="application/json"
        )

    async def metrics(self, request: Request) -> Response:
        """Counters for Prometheus."""
        self._service.metrics.models(await self._service.files_changed(), self._service.registry.refused)
        return Response(self._service.metrics.page(), media_type=CONTENT_TYPE)


def _check_query(names: Iterable[str]) -> None:
    if unknown := sorted(set(names) - {"top_k", "model"}):
        raise RequestError(
            f"the query has a parameter {unknown[0][:40]!r} that has no meaning here: /classify takes top_k and model"
        )


def _top_k(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 10 and int(text) > 0):
        raise RequestError(f"top_k: expected a whole number from 1, got {text[:40]!r}")
    return int(text)


def _rows(
    model: ServedModel, names: list[str | None], outcomes: list[Outcome], top_k: int | None
) -> Iterator[tuple[bytes, bool]]:
    """The JSON of each row, and whether it has predictions. One by one, so that other threads have their turn."""
    for name, outcome in zip(names, outcomes, strict=True):
        result = _result(model, name, outcome, top_k)
        yield orjson.dumps(result.to_dict()), result.ok


def _result(model: ServedModel, name: str | None, outcome: Outcome, top_k: int | None) -> Result:
    if isinstance(outcome, ImageLogits):
        try:
            result = model.classifier.rank(name, outcome.logits, top_k)
            return result if outcome.warning is None else replace(result, warning=for_clients(outcome.warning))
        except InferenceError as error:
            outcome = error
    return model.classifier.head.failure(name, str(outcome))


def _explained(outcome: Outcome, kind: str, body: bytes) -> Outcome:
    """The error of a body that should be an image, with the reason why it is none if that can be told."""
    reason = no_image(kind, body) if isinstance(outcome, ImageError) else None
    return ImageDecodeError(reason) if reason else outcome


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
