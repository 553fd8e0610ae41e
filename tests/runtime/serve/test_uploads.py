"""What POST /classify makes of forms and of JSON, and what it says of bodies that are neither."""

import base64
import io
import json
import threading
from pathlib import Path

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from tests.runtime.serve.conftest import Running

from torchless.errors import ImageDecodeError
from torchless.serve import api, forms
from torchless.serve.errors import RequestError
from torchless.serve.forms import parse_form
from torchless.serve.images_as_text import decode_text
from torchless.serve.uploads import PARSED_AT_ONCE, parse_upload

FORM = "multipart/form-data; boundary=b"
JSON = {"content-type": "application/json"}
MANY = 256


@pytest.fixture(scope="module")
def coffee(photos: Path) -> bytes:
    return (photos / "coffee.png").read_bytes()


@pytest.fixture(scope="module")
def row(served: Running, coffee: bytes) -> dict:
    return served.post("/classify", content=coffee).json()


def part(content: bytes, name: str = "image", *, filename: str | None = None, kind: str | None = None) -> bytes:
    disposition = f'Content-Disposition: form-data; name="{name}"'
    disposition += "" if filename is None else f'; filename="{filename}"'
    lines = [disposition, *([f"Content-Type: {kind}"] if kind else [])]
    return b"--b\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


# ---- JSON


def test_json_gives_the_rows_of_the_same_images(served: Running, coffee: bytes, row: dict) -> None:
    text = base64.b64encode(coffee).decode()
    url = base64.urlsafe_b64encode(coffee).decode().rstrip("=")
    lines = "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    for form in (text, url, lines, f"data:image/png;base64,{text}", f"Data:;base64,{url}"):
        answer = served.post("/classify", json={"image": form})
        assert (answer.status_code, answer.json()) == (200, row)
    several = served.post("/classify?top_k=2", json={"images": [text, "AAAA", "no base64!", url]}).json()
    assert [len(one["predictions"]) for one in several] == [2, 0, 0, 2]
    assert "not an image" in several[1]["error"]
    assert several[2]["error"] == "the text is not base64, or was cut off"
    assert [one["image"] for one in several] == [None] * 4


def test_line_breaks_of_a_shell_inside_a_text(served: Running, coffee: bytes, row: dict) -> None:
    body = b'{"image":\n "' + base64.encodebytes(coffee) + b'"}'
    assert served.post("/classify", content=body, headers=JSON).json() == row


def test_one_image_that_is_none_is_an_error(served: Running) -> None:
    answer = served.post("/classify", json={"image": "AAAA"})
    assert (answer.status_code, answer.json()["predictions"]) == (400, [])
    answer = served.post("/classify", json={"image": "?"})
    assert (answer.status_code, answer.json()["error"]) == (400, "the text is not base64, or was cut off")


@pytest.mark.parametrize(
    ("document", "says"),
    [
        ([], "the body is JSON, but no object"),
        ("AAAA", "the body is JSON, but no object"),
        ({}, "image: expected base64 text, got nothing"),
        ({"image": {"b64": "AAAA"}}, "image: expected base64 text, got an object"),
        ({"image": None}, "image: expected base64 text, got nothing"),
        ({"images": "AAAA"}, "images: expected a list of base64 texts"),
        ({"images": []}, "images: expected a list of base64 texts"),
        ({"images": ["AAAA", 3]}, "images[1]: expected base64 text, got a number"),
        ({"images": ["AAAA"], "image": "AAAA"}, "the JSON has a field 'image' that has no meaning here"),
        ({"instances": []}, "the JSON has a field 'instances' that has no meaning here; images are in image or images"),
        ({"image": "AAAA", "top_k": 3}, "'top_k' that has no meaning here; it belongs in the query"),
        ({"images": ["AAAA"] * (MANY + 1)}, "the request has 257 images, the server takes at most 256"),
    ],
)
def test_json_that_is_not_what_it_should_be(served: Running, document: object, says: str) -> None:
    answer = served.post("/classify", json=document)
    assert (answer.status_code, list(answer.json())) == (400, ["error"])
    assert says in answer.json()["error"]


@given(
    st.lists(st.tuples(st.integers(0, 200_000), st.binary(max_size=20)), min_size=1, max_size=3),
    st.sampled_from([None, 1]),
    st.sampled_from(["", "\n"]),
)
def test_long_texts_are_cut_out_before_the_rest_is_parsed(parts: list, indent: int | None, end: str) -> None:
    """Escaped characters, which forbid that, change nothing."""
    images = [start + bytes(length) for length, start in parts]
    document = {"images": [base64.b64encode(image).decode() + end for image in images]}
    upload = parse_upload("application/json", json.dumps(document, indent=indent).encode(), MANY)
    assert [image if isinstance(image, bytes) else b"" for _, image in upload.images] == images


@pytest.mark.parametrize("sign", [b"[", b"1,", b"{}"])
def test_json_of_many_values_is_refused_before_it_is_parsed(sign: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchless.serve.uploads.orjson.loads", pytest.fail)
    with pytest.raises(RequestError, match="too many values"):
        parse_upload("application/json", b'{"images": [' + sign * PARSED_AT_ONCE, MANY)


@given(st.binary(), st.sampled_from([0, 1, 2, 3, 1 << 18, (1 << 18) + 1]), st.sampled_from(["", "\n", " \r\n"]))
def test_base64_in_any_of_its_forms(data: bytes, more: int, space: str) -> None:
    """Also where a text is longer than what is decoded at once."""
    data += bytes(more)
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        text = encode(data).decode()
        for form in (text, text.rstrip("=")):
            spaced = space.join((form[:5], form[5:], "")) if form else space
            url = f"data:image/x;base64,{spaced}"
            assert decode_text(url) == decode_text(memoryview(url.encode())) == data


def test_a_line_break_after_padding_that_ends_a_piece() -> None:
    text = "A" * ((1 << 18) - 1) + "="
    assert decode_text(f"{text}\r\n") == base64.b64decode(text)


@given(st.text(max_size=60) | st.text("AB=-_+/ \n", max_size=60))
def test_other_texts_are_an_error(text: str) -> None:
    """What Python's own strict decoder takes, once it is in its usual form, and nothing else."""
    usual = text.translate(str.maketrans("-_", "+/", " \t\r\n")).rstrip("=")
    try:
        wanted = base64.b64decode(usual + "=" * (-len(usual) % 4), validate=True)
    except ValueError:
        wanted = None
    decoded = decode_text(text)
    if text and wanted is not None:
        assert decoded == wanted
    else:
        assert isinstance(decoded, ImageDecodeError)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("https://example.org/cat.jpg", "the server fetches nothing"),
        ("data:image/png,abc", "the data URL is not base64"),
        ("data:" + "x" * 1000, "the data URL is not base64"),
        ("cat.jpg", "the text is not base64, but looks like a file name: send the file's content"),
        ("my photos/cat 1.JPEG", "but looks like a file name"),
        ("AAAA AAA=.", "the text is not base64, or was cut off"),
        ("cat.jpg" + "A" * 1000, "the text is not base64, or was cut off"),
        ("A" * (1 << 18) + "=AAA", "the text is not base64"),
        ("AAAA=AAA" + "A" * (1 << 18), "the text is not base64"),
        ("A" * ((1 << 18) - 1) + "=AAAA", "the text is not base64"),
        ("", "the text is empty"),
    ],
)
def test_what_is_said_of_texts_that_are_no_images(text: str, says: str) -> None:
    error = decode_text(text)
    assert says in str(error)
    assert len(str(error)) < 200


# ---- forms


def test_parts_without_a_filename_are_images_by_their_content(served: Running, coffee: bytes, row: dict) -> None:
    """Whatever their size; a field of text is none, but for a data URL."""
    large = io.BytesIO()
    Image.new("RGB", (900, 900), (200, 120, 40)).save(large, "BMP")
    wanted = served.post("/classify", content=large.getvalue()).json() | {"image": "large"}
    text = b"data:image/png;base64," + base64.b64encode(coffee)
    body = part(large.getvalue(), "large") + part(b"hello", "note") + part(coffee, "", kind="image/png")
    answer = served.post("/classify", content=body + part(text, "url") + b"--b--", headers={"content-type": FORM})
    assert answer.json() == [wanted, row, row | {"image": "url"}]


def test_a_form_in_which_no_file_was_chosen(served: Running) -> None:
    body = part(b"", filename="", kind="application/octet-stream") + b"--b--\r\n"
    answer = served.post("/classify", content=body, headers={"content-type": FORM})
    assert answer.json() == {"error": "the multipart body holds no image; send each as a file: curl -F image=@cat.jpg"}


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("multipart/form-data", part(b"x", filename="x") + b"--b--", "has no boundary in its Content-Type"),
        (FORM, part(b"x", filename="x"), "ends too early"),
        (FORM, part(b"cat.jpg") + b"--b--", "holds no image; its field 'image' is text; send each as a file"),
        (FORM, part(b"x", filename="x") + part(b"3", "top_k") + b"--b--", "top_k belongs in the query"),
        (FORM, b"--b\r\nContent-Type: image/png\r\n\r\nx\r\n--b--", "a part without Content-Disposition"),
        (FORM, b"--b\r\nX: " + b"x" * 9000 + b"\r\n\r\n", "headers"),
        (FORM, b"--c\r\n", "the multipart body is malformed"),
    ],
)
def test_what_is_said_of_forms_that_are_wrong(kind: str, body: bytes, says: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse_form(kind, body, MANY)
    assert says in str(refused.value) or (says == "headers" and "ead" in str(refused.value))


@pytest.mark.parametrize(
    ("content", "what", "most"), [(b"", {"filename": ""}, 16), (b"x", {"filename": "a"}, 4), (b"x", {}, 16)]
)
def test_parts_are_counted_while_they_are_read(
    content: bytes, what: dict, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest of a form with too many is never looked at."""
    begun, begin = [], forms._Form._begin
    monkeypatch.setattr(forms._Form, "_begin", lambda self: begun.append(begin(self)))
    with pytest.raises(RequestError, match="the form has more than"):
        parse_form(FORM, part(content, **what) * 1000 + b"--b--", 4)
    assert len(begun) == most


@given(st.lists(st.tuples(st.binary(max_size=20), st.sampled_from(["a", "", None])), max_size=3), st.binary(max_size=9))
def test_no_form_is_more_than_a_request_error(parts: list, end: bytes) -> None:
    body = b"".join(part(content, filename=filename) for content, filename in parts)
    for whole in (body + b"--b--\r\n", body + end, end + body):
        try:
            images = parse_form(FORM, whole, MANY)
        except RequestError:
            continue
        assert all(isinstance(image, bytes | ImageDecodeError) for _, image in images)


# ---- what else comes


def test_what_curl_d_made_of_a_photo(served: Running, photos: Path) -> None:
    """With -d curl removes line breaks and zeros, of which the decoder says nothing."""
    photo = (photos / "rocket.jpg").read_bytes()
    kind = {"content-type": "application/x-www-form-urlencoded"}
    answer = served.post("/classify", content=photo.translate(None, b"\r\n\0"), headers=kind)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("curl -d removes line breaks and zeros from a file: send it with --data-")
    assert served.post("/classify", content=photo, headers=kind).status_code == 200  # curl --data-binary


@pytest.mark.parametrize(
    ("kind", "body", "says"),
    [
        ("text/plain", b'{"image": "AAAA"}', "the body is JSON, but its Content-Type says text/plain"),
        ("", b' {"images": []}', "the body is JSON, but its Content-Type is missing"),
        ("text/plain", b"data:image/png;base64,AAAA", "the body is a data URL: send it as JSON"),
        ("", b"/9j/4AAQSkZJRg", "the body is base64 text: send it as JSON"),
        ("image/png", part(b"x", filename="x"), "the body is a form, but its Content-Type says image/png"),
        ("application/x-www-form-urlencoded", b"image=@cat.jpg", "the body is text, not an image: with curl"),
        ("application/x-www-form-urlencoded", b"", "the request has no body, or its file is empty: with curl"),
        ("image/jpeg", b"", "the file is empty"),
        ("application/json", b"\x89PNG\r\n\x1a\n\0", "the body is not JSON but binary"),
        ("application/json", part(b"x", filename="x"), "the body is a form, not JSON"),
        ("application/json", b"", "the body is empty, where JSON belongs"),
        ("application/json", b"hello", "the request is not valid JSON"),
    ],
)
def test_the_reason_is_the_true_one(served: Running, kind: str, body: bytes, says: str) -> None:
    answer = served.post("/classify", content=body, headers={"content-type": kind} if kind else {})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(says)


def test_an_image_and_text_sent_to_infer(served: Running, coffee: bytes) -> None:
    path = "/v2/models/tiny_image/infer"
    assert "Inference-Header-Content-Length: 0" in served.post(path, content=coffee).json()["error"]
    assert "Inference-Header-Content-Length: 0" in served.post(path, content=coffee[:9]).json()["error"]
    assert served.post(path, content=b"hello").json()["error"].startswith("the request is not valid JSON")


def test_bodies_that_take_long_to_parse_are_parsed_outside_the_event_loop(
    served: Running, coffee: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a form, those of many parts."""
    where = []

    def noted(*arguments: object) -> object:
        where.append(threading.current_thread() is served.thread)
        return parse_upload(*arguments)

    monkeypatch.setattr(api, "parse_upload", noted)
    for request in (
        {"files": {"image": coffee}},
        {"files": [("image", coffee)] * 3},
        {"files": [("image", coffee)] + [("image", b"")] * 4},
        {"json": {"image": base64.b64encode(coffee).decode()}},
        {"json": {"image": "AAAA"}},
    ):
        served.post("/classify", **request)
    assert where == [True, False, False, False, True]


def test_many_predictions_are_written_outside_the_event_loop(
    served: Running, coffee: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    where, result = [], api._result
    monkeypatch.setattr(api, "_MANY", 9)

    def noted(*arguments: object) -> object:
        where.append(threading.current_thread() is served.thread)
        return result(*arguments)

    monkeypatch.setattr(api, "_result", noted)
    for number in (1, 2):
        answer = served.post("/classify", files=[("image", ("a", coffee))] * number)
        assert [len(row["predictions"]) for row in answer.json()] == [5] * number
    assert where == [True, False, False]


def test_the_documented_examples_work(served: Running) -> None:
    operation = served.client.get("/openapi.json").json()["paths"]["/classify"]["post"]
    content = operation["requestBody"]["content"]["application/json"]
    for example in content["examples"].values():
        answer = served.post("/classify", json=example["value"])
        assert answer.status_code == 200
        assert all(
            row["error"] is None for row in (answer.json() if isinstance(answer.json(), list) else [answer.json()])
        )
    (line,) = (sample["source"] for sample in operation["x-codeSamples"] if sample["label"] == "In JSON")
    assert json.loads(line.split("-d '")[1].split("'")[0])
    assert isinstance(httpx.URL(line.split()[-1]).host, str)
