"""Changed HTTP requests: images, multipart bodies, the Open Inference Protocol in JSON and in bytes, and lines that are
no HTTP at all.

A case is what a client sends: the request line, headers, an empty line and the body.
"""

import base64
import json
from random import Random
from typing import Any

from tests.fuzz.images import any_image, mutated_image
from tests.fuzz.mutate import mutated, mutated_json

_LENGTH_OF_JSON = "Inference-Header-Content-Length"
_ODD_PATHS = (
    "/",
    "/models",
    "/metrics",
    "/v2/models/tiny",
    "/v2/models/%00/infer",
    "/../../etc/passwd",
    "/page/..%2f..%2fetc/passwd",
    "*",
    "/é",
)
_ODD_HEADERS = (
    ("Content-Length", "99999999999999999999"), ("Content-Length", "-1"), ("Transfer-Encoding", "chunked"),
    ("Content-Encoding", "gzip"),
    ("Content-Type", "multipart/form-data"), ("Content-Type", ("multipart/form-data; "
                                                              "boundary=")), ("Content-Type", "é" * 100),
    ("Origin", "null"), ("Expect", "100-continue"), ("Connection", "Upgrade"), (_LENGTH_OF_JSON, "-5"),
    (_LENGTH_OF_JSON, "9" * 5000),
    ("Range", "bytes=0-"), ("Host", ""), ("X", "y" * 100_000),
)  # fmt: skip


def mutated_request(random: Random) -> bytes:
    """Mostly HTTP in order with a body that is not; now and then the HTTP is broken too."""
    kind = random.randrange(10)
    if kind < 4:
        request = _post(
            "/classify", mutated_image(random), {"Content-Type": random.choice(("image/jpeg", "", "x" * 1000))}
        )
    elif kind < 6:
        request = _multipart(random)
    elif kind < 8:
        request = _json(random)
    else:
        request = _binary(random)
    match random.randrange(12):
        case 0:
            return mutated(random, request, most=2)
        case 1:
            head, _, body = request.partition(b"\r\n\r\n")
            name, value = random.choice(_ODD_HEADERS)
            return head + f"\r\n{name}: {value}\r\n\r\n".encode() + body
        case 2:
            _, _, rest = request.partition(b"\r\n")
            method = random.choice(("GET", "POST", "DELETE", "HEAD", "OPTIONS", "TRACE", "\0", "G" * 10_000))
            return f"{method} {random.choice(_ODD_PATHS)} HTTP/1.1\r\n".encode() + rest
    return request


def _post(path: str, body: bytes, headers: dict[str, str]) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Length: {len(body)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def _multipart(random: Random) -> bytes:
    parts = b""
    for _ in range(random.randint(1, 3)):
        image = mutated_image(random) if random.random() < 0.5 else any_image(random)[1]
        filename = random.choice((b'; filename="a.jpg"', b""))
        parts += b'--b\r\nContent-Disposition: form-data; name="a"' + filename + b"\r\n\r\n" + image + b"\r\n"
    body = parts + b"--b--\r\n"
    if random.random() < 0.5:
        body = mutated(random, body)
    return _post("/classify?top_k=3", body, {"Content-Type": "multipart/form-data; boundary=b"})


def _document(random: Random, model: str, tensor: dict[str, Any]) -> dict[str, Any]:
    outputs = [{"name": "logits", "parameters": {"classification": 2, "binary_data": random.random() < 0.5}}]
    return {
        "id": "1",
        "inputs": [{"name": "input", **tensor}],
        "outputs": outputs if random.random() < 0.5 else [],
        "parameters": {},
    }


def _json(random: Random) -> bytes:
    if random.random() < 0.3:
        text = base64.b64encode(mutated_image(random)).decode()
        text = random.choice(("", "data:image/png;base64,")) + mutated(random, text.encode(), most=3).decode("latin-1")
        body = mutated_json(random, random.choice(({"image": text}, {"images": [text, "AAAA"]})))
        return _post("/classify", body, {"Content-Type": "application/json"})
    if random.random() < 0.5:
        tensor = {"shape": [1, 3, 32, 32], "datatype": "FP32", "data": [round(random.gauss(0, 1), 2)] * 3072}
        document, model = _document(random, "tiny", tensor), "tiny"
    else:
        image = base64.b64encode(mutated_image(random)).decode()
        document, model = (
            _document(random, "tiny_image", {"shape": [1], "datatype": "BYTES", "data": [image]}),
            "tiny_image",
        )
    return _post(f"/v2/models/{model}/infer", mutated_json(random, document), {"Content-Type": "application/json"})


def _binary(random: Random) -> bytes:
    if random.random() < 0.5:
        data, model, tensor = random.randbytes(12288), "tiny", {"shape": [1, 3, 32, 32], "datatype": "FP32"}
    else:
        image = mutated_image(random)
        data, model, tensor = (
            len(image).to_bytes(4, "little") + image,
            "tiny_image",
            {"shape": [1], "datatype": "BYTES"},
        )
    document = _document(random, model, tensor | {"parameters": {"binary_data_size": len(data)}})
    text = json.dumps(document).encode() if random.random() < 0.6 else mutated_json(random, document)
    if random.random() < 0.4:
        data = mutated(random, data)
    length = len(text) if random.random() < 0.8 else random.choice((0, 1, len(text) + len(data), 10**9))
    return _post(f"/v2/models/{model}/infer", text + data, {_LENGTH_OF_JSON: str(length)})
