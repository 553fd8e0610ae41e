"""Compressed bodies: unpacked exactly, bounded while they are unpacked, and refused with the reason that is true."""

import gzip
import os
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
import tritonclient.http as triton
from hypothesis import given
from hypothesis import strategies as st
from tests.runtime.serve.conftest import Running, running
from tests.runtime.serve.test_triton import image_input

from torchless import Classifier
from torchless.serve.errors import RequestError
from torchless.serve.unpacking import PIECE, unpacked


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


PACKERS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
]


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
@given(seed=st.binary(max_size=300), times=st.sampled_from([0, 1, 7, 2000]))
def test_unpacks_in_small_pieces(encoding: str, pack: Callable[[bytes], bytes], seed: bytes, times: int) -> None:
    pieces = list(unpacked(pack(seed * times), encoding))
    assert b"".join(pieces) == seed * times
    assert all(0 < len(piece) <= PIECE for piece in pieces)


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
@given(data=st.binary(min_size=1, max_size=300), cut=st.integers(1, 300), tail=st.binary(min_size=1, max_size=9))
def test_refuses_what_is_cut_off_or_followed(
    encoding: str, pack: Callable[[bytes], bytes], data: bytes, cut: int, tail: bytes
) -> None:
    packed = pack(data)
    with pytest.raises(RequestError, match="ends too early|is not"):
        list(unpacked(packed[:-cut], encoding))
    for more in (tail, bytes(1 << 17)):
        with pytest.raises(RequestError, match="bytes follow the end"):
            list(unpacked(packed + more, encoding))


@given(garbage=st.binary(max_size=300), encoding=st.sampled_from(["gzip", "deflate"]))
def test_garbage_is_an_error_or_content(garbage: bytes, encoding: str) -> None:
    try:
        assert sum(map(len, unpacked(garbage, encoding))) <= 1100 * len(garbage)
    except RequestError as error:
        assert encoding in str(error)


@pytest.mark.parametrize(("encoding", "pack"), PACKERS)
def test_each_endpoint_takes_compressed_bodies(
    served: Running, photos: Path, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    image = (photos / "coffee.png").read_bytes()
    headers = {"content-encoding": encoding.upper()}
    plain = served.post("/classify", content=image)
    assert served.post("/classify", content=pack(image), headers=headers).content == plain.content
    form = served.client.build_request("POST", "/classify", files={"image": image})
    answer = served.post(
        "/classify", content=pack(form.read()), headers=headers | {"content-type": form.headers["content-type"]}
    )
    assert answer.json()[0]["predictions"] == plain.json()["predictions"]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_tritonclient_compresses(served: Running, tiny: Path, photos: Path, algorithm: str) -> None:
    """The header Inference-Header-Content-Length counts bytes of the unpacked body."""
    images = [(photos / name).read_bytes() for name in ("coffee.png", "rocket.jpg")]
    with triton.InferenceServerClient(served.address) as client:
        result = client.infer(
            "tiny_image",
            [image_input(images)],
            request_compression_algorithm=algorithm,
            response_compression_algorithm=algorithm,
        )
    assert result.as_numpy("logits") == pytest.approx(Classifier(tiny, device="cpu").logits(images), rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    ("encoding", "body", "status", "message"),
    [
        ("br", b"x", 415, "the body is compressed as 'br'; gzip and deflate are understood"),
        ("gzip, gzip", b"x", 415, "compressed as 'gzip, gzip'"),
        ("gzip", b"no gzip", 400, "the body is not gzip, or is damaged"),
        ("gzip", b"", 400, "the gzip body ends too early"),
        ("gzip", gzip.compress(b"x", mtime=0) + b"y", 400, "bytes follow the end of the gzip body"),
    ],
)
def test_refusals(served: Running, encoding: str, body: bytes, status: int, message: str) -> None:
    for path in ("/classify", "/v2/models/tiny/infer", "/v2/repository/index"):
        answer = served.post(path, content=body, headers={"content-encoding": encoding})
        assert answer.status_code == status
        assert message in answer.json()["error"]
        assert answer.headers.get("accept-encoding") == ("gzip, deflate" if status == 415 else None)


def test_the_limits_hold_for_what_was_unpacked(tiny: Path) -> None:
    """A bomb costs no more memory than a plain body of the limit's size, and what it held is free again."""
    bomb = gzip.compress(bytes(64 << 20), 9)
    with running(tiny, max_body_bytes=1 << 20, max_bodies_bytes=3 << 19) as server:
        tracemalloc.start()
        for _ in range(3):
            answer = server.post("/classify", content=bomb, headers={"content-encoding": "gzip"})
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
        tracemalloc.stop()
        one = server.post("/classify", content=gzip.compress(os.urandom(900_000)), headers={"content-encoding": "gzip"})
        assert (one.status_code, server.service.bodies._held) == (503, 0)  # packed and unpacked are held together
        assert server.post("/classify", content=bytes(1 << 20)).status_code == 400
