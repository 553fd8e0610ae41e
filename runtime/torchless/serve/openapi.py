"""The OpenAPI document at /openapi.json, which /docs shows. Written by hand, because no framework knows these bodies;
schemathesis tests that the server matches it.
"""

from functools import lru_cache
from importlib.metadata import version
from typing import Any

import orjson

from torchless.serve import openapi_classify as classify

Json = dict[str, Any]

_ABOUT = (
    "Image classification with exported models: /classify takes images and gives labels; /v2 is the Open Inference "
    "Protocol, where each model is two: NAME takes prepared float32 tensors named input, NAME_image takes encoded "
    "images named image; both give logits."
)


@lru_cache(8)
def openapi_json(prefix: str) -> bytes:
    """The document of a server that is shown under the path `prefix`."""
    return orjson.dumps(
        {
            "openapi": "3.1.0",
            "servers": [{"url": prefix or "/"}],
            "info": {"title": "torchless", "version": version("torchless"), "description": _ABOUT},
            "paths": _paths(),
            "components": {
                "schemas": _schemas(),
                "securitySchemes": {
                    "key": {"type": "http", "scheme": "bearer", "description": "If the operator requires one."}
                },
            },
            "security": [{}, {"key": []}],
        }
    )


def _paths() -> Json:
    model, model_version = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
    paths: Json = {
        "/classify": {"post": _classify()},
        "/models": {
            "get": _get("The models that are loaded", _json_response({"type": "array", "items": _ref("Model")}))
        },
        "/metrics": {"get": _get("Metrics for Prometheus", {"text/plain": {"schema": {"type": "string"}}})},
        "/v2": {"get": _get("The server, in the Open Inference Protocol", _json_response(_ref("Server")))},
        "/v2/health/live": {"get": _get("Whether the process answers", _json_response(_ref("Live")), security=[{}])},
        "/v2/health/ready": {"get": _ready("Whether everything is loaded and warmed up", "Ready", security=[{}])},
        "/v2/models/stats": {"get": _get("Counts and times of all models", _json_response(_ref("Statistics")))},
        "/v2/repository/index": {"post": _index()},
        "/v2/repository/models/{model}/load": {"post": _control("Load a model from its file, or reload it", body=True)},
        "/v2/repository/models/{model}/unload": {"post": _control("Unload a model", body=False)},
    }
    for path, parameters in ((model, [_MODEL]), (model_version, [_MODEL, _VERSION])):
        paths[path] = {
            "get": _get("A model's inputs and outputs", _json_response(_ref("Metadata")), 404, parameters=parameters)
        }
        paths[f"{path}/ready"] = {"get": _ready("Whether the model is ready", "ModelReady", 404, parameters=parameters)}
        paths[f"{path}/config"] = {
            "get": _get(
                "A model's configuration, as Triton has it", _json_response(_ref("Config")), 404, parameters=parameters
            )
        }
        paths[f"{path}/stats"] = {
            "get": _get(
                "A model's counts and times since the start, as Triton has them",
                _json_response(_ref("Statistics")),
                404,
                parameters=parameters,
            )
        }
        paths[f"{path}/infer"] = {"post": _infer(parameters)}
    return paths


_MODEL: Json = {"name": "model", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
_VERSION: Json = {
    "name": "version", "in": "path", "required": True, "schema": {"type": "string", "minLength": 1},
    "description": "One of the metadata's versions. Without one, the newest answers."
}  # fmt: skip
_TOP_K: Json = {
    "name": "top_k", "in": "query", "schema": {"type": "integer", "minimum": 1, "maximum": 999_999_999},
    "description": "At most this many classes, most probable first; by default 5, of a multi-label model all that "
                   "reach their threshold.",
}  # fmt: skip
_MODEL_QUERY: Json = {
    "name": "model", "in": "query", "schema": {"type": "string"},
    "description": "NAME, whose newest version answers, or NAME/VERSION; by default the first model."
}  # fmt: skip
_JSON_LENGTH: Json = {
    "name": "Inference-Header-Content-Length", "in": "header", "schema": {"type": "integer", "minimum": 0,
    "maximum": 2**31 - 1},
    "description": "How many bytes of the body are JSON, if bytes of tensors follow; 0 for a body that is one raw "
                   "tensor or image.",
}  # fmt: skip

_MEANINGS = {
    400: "The request is invalid; the reason",
    401: "An API key is required",
    403: "Not allowed",
    404: "There is no such model",
    408: "The body arrived too slowly",
    413: "The body or the image is too large",
    415: "The body is compressed in a way that is not understood",
    421: "The Host header is not a name of this server",
    499: "The client hung up",
    500: "The model failed on this input",
    503: "Overloaded, stopping, or not ready",
    504: "The deadline passed",
}
_OF_BODIES = (400, 401, 403, 408, 413, 415, 421, 503)
_OF_RUNS = (*_OF_BODIES, 404, 500, 504)


def _classify() -> Json:
    responses = _responses(classify.content(), *_OF_RUNS)
    for status in (400, 413, 500):
        responses[str(status)]["content"] = _json_response({"anyOf": [_ref("Error"), _ref("Row")]})
    return classify.operation([_TOP_K, _MODEL_QUERY]) | {"responses": responses}


_INFER_CURL = (
    f"curl -H '{_JSON_LENGTH['name']}: 0' --data-binary @cat.jpg http://127.0.0.1:8000/v2/models/NAME_image/infer "
    "-o answer.bin"
)


def _infer(parameters: list[Json]) -> Json:
    binary: Json = {
        "type": "string",
        "format": "binary",
        "description": "the same JSON, and the tensors' bytes after it; or one raw tensor or image",
    }
    answers = _json_response(_ref("InferResponse")) | {
        "application/octet-stream": {"schema": {"type": "string", "format": "binary"}}
    }
    return {
        "summary": "Run a model",
        "parameters": [*parameters, _JSON_LENGTH],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": _ref("InferRequest")},
                "application/octet-stream": {"schema": binary},
            },
        },
        "responses": _responses(answers, *_OF_RUNS),
        "x-codeSamples": [{"lang": "Shell", "label": "An image, to the model NAME_image", "source": _INFER_CURL}],
    }


def _index() -> Json:
    asked = {"type": "object", "properties": {"ready": {"type": "boolean"}}}
    return {
        "summary": "The models that are loaded, and those that can be",
        "requestBody": {"content": {"application/json": {"schema": asked}}},
        "responses": _responses(_json_response({"type": "array", "items": _ref("IndexRow")}), *_OF_BODIES),
    }


def _control(summary: str, *, body: bool) -> Json:
    operation: Json = {
        "summary": summary,
        "description": "Only where the operator allows it (--allow-model-control).",
        "parameters": [_MODEL],
    }
    if body:
        operation["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return operation | {"responses": _responses(None, *_OF_BODIES, 404)}


def _get(summary: str, content: Json | None, *statuses: int, **more: Any) -> Json:
    return {"summary": summary, **more, "responses": _responses(content, 400, 401, 403, 421, *statuses)}


def _ready(summary: str, schema: str, *statuses: int, **more: Any) -> Json:
    """Health as JSON: the same body with 200 and, while it is false, with 503."""
    operation = _get(summary, _json_response(_ref(schema)), 503, *statuses, **more)
    operation["responses"]["503"]["content"] = _json_response(_ref(schema))
    return operation


def _responses(content: Json | None, *statuses: int) -> Json:
    well: Json = {"description": "Success"} | ({"content": content} if content is not None else {})
    return {"200": well} | {
        str(status): {"description": _MEANINGS[status], "content": _json_response(_ref("Error"))}
        for status in sorted(statuses)
    }


def _json_response(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}


def _ref(name: str) -> Json:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(properties: Json, *optional: str) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
    }


def _schemas() -> Json:
    text, number, boolean = {"type": "string"}, {"type": "integer"}, {"type": "boolean"}
    shape, texts = {"type": "array", "items": number}, {"type": "array", "items": text}
    datatype = {"type": "string", "enum": ["FP32", "UINT8", "BYTES"]}
    data: Json = {"type": "array", "description": "numbers in row-major order, flat or in lists; images as base64 text"}
    tensor = {"name": text, "datatype": datatype, "shape": shape}
    share = {"type": "number", "minimum": 0, "maximum": 1}
    threshold = share | {
        "description": "of a multi-label model: the probability from which the class counts as present"
    }
    prediction = _object({"index": number, "label": text, "probability": share, "threshold": threshold}, "threshold")
    input_parameters = {
        "type": ["object", "null"],
        "properties": {"binary_data_size": {"type": "integer", "minimum": 0}},
    }
    output_parameters = {
        "type": ["object", "null"],
        "properties": {"binary_data": boolean, "classification": {"type": "integer", "minimum": 0}},
    }
    request_parameters = {
        "type": ["object", "null"],
        "properties": {"binary_data_output": boolean, "timeout": {"type": "integer", "minimum": 0}},
    }
    described = {"type": "array", "items": _object(tensor)}
    spent = _object({"count": number, "ns": number})
    compute = dict.fromkeys(("compute_input", "compute_infer", "compute_output"), spent)
    stages = dict.fromkeys(("success", "fail", "queue", "cache_hit", "cache_miss"), spent) | compute
    dims = {"type": "array", "items": _object({"name": text, "data_type": text, "dims": shape})}
    return {
        "Config": _object({
            "name": text, "platform": text, "backend": text, "max_batch_size": number, "input": dims, "output": dims,
        }),
        "Statistics": _object({"model_stats": {"type": "array", "items": _object({
            "name": text, "version": text, "last_inference": number, "inference_count": number,
            "execution_count": number, "inference_stats": _object(stages),
            "batch_stats": {"type": "array", "items": _object({"batch_size": number} | compute)},
        })}}),
        "Error": _object({"error": text}),
        "Images": classify.IMAGES,
        "Row": _object({
            "image": {"type": ["string", "null"]}, "predictions": {"type": "array", "items": prediction},
            "error": {"type": ["string", "null"]},
            "multi_label": boolean | {"description": "true where each class is decided by itself; predictions are then "
            "the classes that reach their threshold"},
            "nearest": prediction | {"description": "where none does: the class that lacks least"},
            "warning": {"type": "string", "description": "why the image may not have been read as it was meant"},
        }, "multi_label", "nearest", "warning"),
        "Model": _object({
            "name": text, "version": text, "classes": number, "multi_label": boolean, "trained": boolean,
            "device": text, "warnings": texts, "image_size": {"type": "array", "items": number}
        }),
        "Live": _object({"live": boolean}),
        "Ready": _object({"ready": boolean}),
        "ModelReady": _object({"name": text, "ready": boolean}),
        "Server": _object({"name": text, "version": text, "extensions": texts}),
        "Metadata": _object({"name": text, "versions": texts, "platform": text, "inputs": described,
        "outputs": described}),
        "IndexRow": _object({"name": text, "version": text, "state": text, "reason": text}, "version", "state",
        "reason"),
        "InferRequest": _object(
            {
                "id": text,
                "inputs": {
                    "type": "array", "minItems": 1, "maxItems": 1,
                    "items": _object(tensor | {"data": data, "parameters": input_parameters}, "data", "parameters"),
                },
                "outputs": {
                    "type": "array", "maxItems": 1, "items": _object({"name": text, "parameters": output_parameters},
                    "parameters")
                },
                "parameters": request_parameters,
            },
            "id", "outputs", "parameters",
        ),
        "InferResponse": _object(
            {"model_name": text, "model_version": text, "id": text, "outputs": {
                "type": "array", "items": _object(tensor | {"data": data, "parameters": input_parameters}, "data",
                "parameters")
            }},
            "id",
        ),
    }  # fmt: skip
