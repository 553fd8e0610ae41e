"""POST /classify over a real connection, against what the command line says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.data import LABELS
from tests.runtime.serve.conftest import PHOTOS, Running, running

from torchless.engine.options import ModelOptions
from torchless.image.options import ImageOptions
from torchless.model.artifact import manifest_of
from torchless.model.onnxfile import read_onnx

TYPE = {"content-type": "application/octet-stream"}


def without_names(rows: list[dict]) -> list[dict]:
    return [row | {"image": None} for row in rows]


def test_it_answers_what_infer_answers(
    tiny: Path, photos: Path, command_line: Callable[..., tuple[int, str, str]]
) -> None:
    """To the last bit, one by one; and in batches as far as float32 goes."""
    paths = [photos / name for name in PHOTOS]
    code, out, _ = command_line("infer", tiny, *paths, "--format", "jsonl", "--device", "cpu")
    wanted = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    with running(tiny) as server:
        rows = [server.post("/classify", content=path.read_bytes(), headers=TYPE).json() for path in paths]
        assert rows == without_names(wanted)
        together = server.post("/classify", files=[("image", (path.name, path.read_bytes())) for path in paths]).json()
    assert [row["image"] for row in together] == list(PHOTOS)
    for row, want in zip(together, wanted, strict=True):
        assert [(p["index"], p["label"]) for p in row["predictions"]] == [
            (p["index"], p["label"]) for p in want["predictions"]
        ]
        assert [p["probability"] for p in row["predictions"]] == pytest.approx(
            [p["probability"] for p in want["predictions"]], rel=1e-4
        )


def test_several_files_each_with_its_own_error(served: Running, photos: Path) -> None:
    parts = [
        ("a", ("ä b.png", (photos / "coffee.png").read_bytes())),
        ("b", ("broken.jpg", b"\xff\xd8\xff")),
        ("c", ("", b"")),
    ]
    answer = served.post(
        "/classify?top_k=1", files=[*parts, ("d", ("d.jpg", (photos / "rocket.jpg").read_bytes()))], data={"field": "x"}
    )
    assert answer.status_code == 200
    rows = answer.json()
    assert [row["image"] for row in rows if row["error"] is None] == ["ä b.png", "d.jpg"]
    assert [len(row["predictions"]) for row in rows if row["error"] is None] == [1, 1]
    assert rows[1] == {"image": "broken.jpg", "predictions": [], "error": rows[1]["error"]}
    assert "its header is damaged" in rows[1]["error"]


def test_top_k_model_and_timing(served: Running, photos: Path) -> None:
    data = (photos / "coffee.png").read_bytes()
    for asked, got in ((1, 1), (99, len(LABELS))):
        assert len(served.post(f"/classify?top_k={asked}&model=tiny", content=data).json()["predictions"]) == got
    timing = served.post("/classify", content=data).headers["server-timing"]
    assert [part.split(";")[0] for part in timing.split(", ")] == ["queue", "decode", "preprocess", "inference"]


@pytest.mark.parametrize("top_k", ["0", "-1", "x", "1.5", "", "²", "9" * 5000])
def test_a_top_k_that_is_none(served: Running, top_k: str) -> None:
    answer = served.post("/classify", params={"top_k": top_k}, content=b"x")
    assert (answer.status_code, answer.json()["error"][:35]) == (400, "top_k: expected a whole number from")


@pytest.mark.parametrize("name", ["topk", "TOP_K", "", "k" * 5000])
def test_a_parameter_that_is_unknown(served: Running, name: str) -> None:
    answer = served.post("/classify", params={name: "1", "top_k": "1", "model": "tiny"}, content=b"x")
    says = f"the query has a parameter {name[:40]!r} that has no meaning here: /classify takes top_k and model"
    assert (answer.status_code, answer.json()) == (400, {"error": says})


def test_a_model_that_is_not_there(served: Running) -> None:
    answer = served.post("/classify?model=other", content=b"x")
    assert (answer.status_code, answer.json()) == (404, {"error": "there is no model 'other'; there are: tiny"})


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "the request has no body, or its file is empty"),
        (b"hello", "not an image"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 50, "its header is damaged"),
    ],
)
def test_a_body_that_is_no_image(served: Running, body: bytes, says: str) -> None:
    answer = served.post("/classify", content=body)
    assert answer.status_code == 400
    assert says in answer.json()["error"]
    assert answer.json()["predictions"] == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", b"x"),
        ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
        ("multipart/form-data; boundary=b", b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n'),
        ("multipart/form-data; boundary=b", b"--c\r\n"),
        (
            "multipart/form-data; boundary=b; charset=zlib",
            b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n--b--\r\n',
        ),
        ("multipart/form-data; boundary=b", b""),
    ],
)
def test_a_multipart_body_that_is_none(served: Running, content_type: str, body: bytes) -> None:
    answer = served.post("/classify", content=body, headers={"content-type": content_type})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("the multipart body ")


def test_more_pixels_than_allowed(tiny: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)  # as `torchless serve` does
    Image.new("1", (12_000, 12_000)).save(tmp_path / "bomb.png")
    with running(tiny, opening=ModelOptions(image_options=ImageOptions(max_pixels=1_000_000))) as server:
        answer = server.post("/classify", content=(tmp_path / "bomb.png").read_bytes())
        assert (answer.status_code, "144 megapixels, the limit is 1" in answer.json()["error"]) == (413, True)
        assert server.post("/classify", content=(photos / "coffee.png").read_bytes()).status_code == 200


def test_an_untrained_model_says_so(changed: Callable[..., Path], tiny: Path, photos: Path) -> None:
    text = manifest_of(read_onnx(tiny)).to_json()
    document = json.loads(text)
    document["model"]["weights"] = None
    with running(changed(manifest=json.dumps(document))) as server:
        (model,) = server.client.get("/models").json()
        assert (model["trained"], "untrained: the weights are random" in model["warnings"][0]) == (False, True)
        assert any("has no seal" in warning for warning in model["warnings"])
        answer = server.post("/classify", content=(photos / "coffee.png").read_bytes())
        assert answer.headers["torchless-warning"].startswith("untrained model")


def test_several_models(tiny: Path, changed: Callable[..., Path], photos: Path) -> None:
    with running(tiny, changed()) as server:
        assert [model["name"] for model in server.client.get("/models").json()] == ["tiny", "changed"]
        data = (photos / "coffee.png").read_bytes()
        rows = [
            server.post("/classify", params=params, content=data).json()
            for params in ({}, {"model": "tiny"}, {"model": "changed"})
        ]
        assert rows[0] == rows[1] == rows[2]
        assert server.metric('torchless_images_total{model="tiny",outcome="ok",version="1"}') == 2


def test_the_warning_of_an_image_is_in_its_row(tiny: Path, photos: Path) -> None:
    opening = ModelOptions(device="cpu", image_options=ImageOptions(truncated=True))
    half = (photos / "rocket.jpg").read_bytes()[:-1000]
    with running(tiny, opening=opening) as server:
        row = server.post("/classify", content=half).json()
    assert row["error"] is None
    assert row["warning"].startswith("the file ends early")
