"""POST /classify in the OpenAPI document: its bodies, with examples that work as they are."""

from typing import Any

Json = dict[str, Any]

_PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR42mM4UaEBAAN0AWn1BwN7AAAAAElFTkSuQmCC"  # one pixel
_BASE64: Json = {
    "type": "string",
    "description": "an image as base64 (with line breaks, without padding or for URLs is fine), or as a data URL",
}
IMAGES: Json = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"image": _BASE64},
            "required": ["image"],
            "additionalProperties": False,
        },
        {
            "type": "object",
            "properties": {"images": {"type": "array", "items": _BASE64, "minItems": 1}},
            "required": ["images"],
            "additionalProperties": False,
        },
    ],
    "description": "one image, or several",
}
_ROW: Json = {"$ref": "#/components/schemas/Row"}
_FOUND: Json = {
    "image": None,
    "predictions": [
        {"index": 967, "label": "espresso", "probability": 0.951},
        {"index": 968, "label": "cup", "probability": 0.015},
    ],
    "error": None,
}
_FAILED: Json = {"image": "broken.jpg", "predictions": [], "error": "the file is empty"}
# Written as the address of this machine; /docs puts its own there.
_CURL = {
    "One image as the body": "curl --data-binary @cat.jpg 'http://127.0.0.1:8000/classify?top_k=3'",
    "Several in a form": "curl -F image=@cat.jpg -F image=@dog.jpg http://127.0.0.1:8000/classify",
    "In JSON": f"""curl -H 'Content-Type: application/json' -d '{{"image": "{_PNG}"}}' http://127.0.0.1:8000/classify""",
    "A file in JSON": """printf '{"image": "%s"}' "$(base64 < cat.jpg)" | """
    "curl -H 'Content-Type: application/json' --data-binary @- http://127.0.0.1:8000/classify",
}


def operation(parameters: list[Json]) -> Json:
    """The operation without its responses."""
    image: Json = {"type": "string", "format": "binary", "description": "the bytes of one image: JPEG, PNG, WebP, …"}
    form: Json = {
        "type": "object",
        "description": "images as files, or as data URLs in fields",
        "additionalProperties": image,
    }
    one, several = {"image": _PNG}, {"images": [_PNG, f"data:image/png;base64,{_PNG}"]}
    return {
        "summary": "Classify one image, or several",
        "description": (
            "One image, as the body or in JSON, gets its row. Several, as files in a form or as a list in JSON, get a "
            "list of rows, in their order, each with predictions or an error. The header Server-Timing tells the time "
            "of each stage in milliseconds."
        ),
        "parameters": parameters,
        "requestBody": {
            "required": True,
            "content": {
                "application/octet-stream": {"schema": image},
                "image/*": {"schema": image},
                "multipart/form-data": {"schema": form},
                "application/json": {
                    "schema": {"$ref": "#/components/schemas/Images"},
                    "examples": {"one": {"value": one}, "several": {"value": several}},
                },
            },
        },
        "x-codeSamples": [{"lang": "Shell", "label": label, "source": line} for label, line in _CURL.items()],
    }


def content() -> Json:
    """The content of a good response."""
    return {
        "application/json": {
            "schema": {"oneOf": [_ROW, {"type": "array", "items": _ROW}]},
            "examples": {
                "one": {"summary": "one image", "value": _FOUND},
                "several": {"summary": "several", "value": [_FOUND | {"image": "cat.jpg"}, _FAILED]},
            },
        }
    }
