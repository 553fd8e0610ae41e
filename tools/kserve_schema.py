"""KServe's published schema of an InferenceService as JSON Schema, as far as a manifest of ours goes into it:

    pip download --no-deps kserve
    python tools/kserve_schema.py kserve-*.whl > tests/runtime/triton/kserve_schema.json

The kserve package cannot be installed beside torchless's other dependencies (it wants an older protobuf), so its
models' tables of fields are read out of its wheel. Kinds of Kubernetes itself are left open.
"""

import ast
import json
import re
import sys
import zipfile
from pathlib import Path
from typing import Any

KINDS = ("InferenceService", "InferenceServiceSpec", "PredictorSpec", "ModelSpec", "ModelFormat", "ModelStorageSpec")
_PLAIN = {"str": "string", "int": "integer", "bool": "boolean", "float": "number"}


def schema(wheel: Path) -> dict[str, Any]:
    """The schema of an InferenceService, with the others of KINDS as its definitions."""
    with zipfile.ZipFile(wheel) as archive:
        kinds = {f"V1beta1{kind}": archive.read(f"kserve/models/v1beta1_{_snake(kind)}.py").decode() for kind in KINDS}
    definitions = {kind: _object(source, set(kinds)) for kind, source in kinds.items()}
    return {"$comment": wheel.name, "$ref": "#/$defs/V1beta1InferenceService", "$defs": definitions}


def _object(source: str, known: set[str]) -> dict[str, Any]:
    types, names = (_table(source, name) for name in ("openapi_types", "attribute_map"))
    required = [names[field] for field in re.findall(r"Invalid value for `(\w+)`, must not be `None`", source)]
    properties = {names[field]: _type(kind, known) for field, kind in types.items()}
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _table(source: str, name: str) -> dict[str, str]:
    """A dictionary of texts that a module assigns to `name`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == name:
            return dict(ast.literal_eval(node.value))
    raise SystemExit(f"no {name}: another layout of the kserve package")


def _type(kind: str, known: set[str]) -> dict[str, Any]:
    if found := re.fullmatch(r"list\[(.*)\]", kind):
        return {"type": "array", "items": _type(found[1], known)}
    if found := re.fullmatch(r"dict\(str, (.*)\)", kind):
        return {"type": "object", "additionalProperties": _type(found[1], known)}
    if kind in known:
        return {"$ref": f"#/$defs/{kind}"}
    return {"type": _PLAIN[kind]} if kind in _PLAIN else {}


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


if __name__ == "__main__":
    print(json.dumps(schema(Path(sys.argv[1])), indent=1))
