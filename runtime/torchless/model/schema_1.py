"""Manifests of the first schema, which are read for good: their fields in the places of today's."""

from collections.abc import Mapping
from typing import Any

_ACTIVATIONS = {"logits": "softmax", "probabilities": "none"}


def from_schema_1(document: Mapping[str, Any]) -> dict[str, Any]:
    """The manifest `document`, as json.loads gives it, with the fields of the second schema.

    What is missing or of a wrong type is left for the decoder, which names it.
    """
    upgraded = dict(document)
    preprocess, output, model = (document.get(name) for name in ("preprocess", "output", "model"))
    if isinstance(preprocess, Mapping):
        upgraded["preprocess"] = _preprocess(preprocess)
    if isinstance(output, Mapping):
        upgraded["output"] = {**output, "activation": _activation(output.get("kind", "logits"))}
    if isinstance(model, Mapping) and isinstance(model.get("changes"), Mapping) and isinstance(preprocess, Mapping):
        upgraded["model"] = {**model, "changes": _changes(model["changes"], preprocess)}
    return upgraded


def _preprocess(old: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(old)
    if "resize_size" in old:
        new["resize"] = {"mode": "short_side", "size": [old["resize_size"]]}
    if "crop_size" in old:
        new["crop"] = [old["crop_size"]] * 2
    return new


def _activation(kind: Any) -> Any:
    return _ACTIVATIONS.get(kind, kind) if isinstance(kind, str) else kind


def _changes(old: Mapping[str, Any], preprocess: Mapping[str, Any]) -> dict[str, Any]:
    """Another image size also changed the resize size, which only the result says."""
    new, result = dict(old), _preprocess(preprocess)
    if old.get("image_size") is not None:
        new["crop"] = result.get("crop")
    if old.get("image_size") is not None or old.get("resize_size") is not None:
        new["resize"] = result.get("resize")
    return new
