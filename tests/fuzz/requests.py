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
    kind = random.randrange(13)
    if kind >= 10:
        return (_odd_head, _odd_body, _many)[kind - 10](random)
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


def _odd_head(random: Random) -> bytes:
    """Heads about as large as the server takes, in each of their parts; repeated, contradicting and broken lines."""
    about = random.choice((1, 200, 250, 260, 4000, 60_000, 65_000, 66_000, 140_000))
    lines = [b"GET /v2 HTTP/1.1", b"Host: localhost"]
    match random.randrange(8):
        case 0:
            lines[0] = b"GET /" + b"x" * about + b" HTTP/1.1"
        case 1:
            lines.append(b"X: " + b"x" * about)
        case 2:
            lines.append(b"X" * about + b": x")
        case 3:
            lines += [b"x:"] * (about // 2)
        case 4:
            lines += [
                b"Content-Length: %d" % random.choice((0, 1, about, 1 << 63)) for _ in range(random.randint(1, 3))
            ]
        case 5:
            lines += [
                random.choice((b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"TE: trailers"))
            ]
            lines += [b"Content-Length: 5"] * random.randrange(2)
        case 6:
            lines += [b"Connection: " + random.choice((b"close", b"Upgrade", b"keep-alive, x" * 9)), b"Upgrade: h2c"]
        case _:
            lines.insert(
                random.randrange(3), random.choice((b" folded", b"no colon", b": no name", b"a\0b: c", b"\xff: x"))
            )
    head = b"\r\n".join(lines) + b"\r\n\r\n"
    return head if random.random() < 0.8 else mutated(random, head, most=2)


def _odd_body(random: Random) -> bytes:
    """Chunks of one byte and of wrong sizes, with extensions and trailers; bodies longer or shorter than they said."""
    image, chunks = any_image(random)[1], b""
    if random.random() < 0.4:
        size = random.choice((0, 1, len(image) - 1, len(image) + 1, 31 * 10**6, 33 * 10**6))
        return _post("/classify", b"", {}).replace(b"Content-Length: 0", b"Content-Length: %d" % size) + image
    sizes = random.choice(((1,), (1, 2, 3), (1000, 1), (1 << 16,)))
    while image and len(chunks) < 300_000:
        size = random.choice(sizes)
        piece, image = image[:size], image[size:]
        extension = b";x" * random.choice((0, 0, 0, 1, 3000)) if random.random() < 0.01 else b""
        chunks += b"%x%s\r\n%s\r\n" % (len(piece) if random.random() < 0.9999 else 7, extension, piece)
    trailers = random.choice(
        (b"", b"", b"Authorization: Bearer x\r\n", b"T: t\r\n" * random.choice((10, 10_000, 14_000)))
    )
    head = b"POST /classify HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    return (
        head
        + chunks
        + random.choice((b"0\r\n", b"0\r\n", b"", b"-1\r\n", b"fffffffffffffffff\r\n"))
        + trailers
        + b"\r\n"
    )


def _many(random: Random) -> bytes:
    """Many requests in one piece: the first answer is looked at; the others must do no harm."""
    request = random.choice(
        (b"GET /v2 HTTP/1.1\r\nHost: localhost\r\n\r\n", _post("/classify", any_image(random)[1], {}))
    )
    return request * random.choice((2, 10, 100)) + random.choice((b"", b"GET", b"\r\n\r\n", b"\0"))
