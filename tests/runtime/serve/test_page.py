"""The page at /, in a real browser."""

import io
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Page, Route, expect
from tests import onnx_model
from tests.conftest import brightness
from tests.data import LABELS
from tests.runtime.serve.conftest import PHOTOS, Running, running

from torchless.model.artifact import read_artifact
from torchless.model.manifest import Manifest

KEY = "0123456789abcdef"


@pytest.fixture(scope="module")
def two_models(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """tiny, and before it another whose labels are letters."""
    model, letters = onnx_model.load(tiny), tmp_path_factory.mktemp("page") / "letters.onnx"
    onnx_model.set_metadata(
        model, {Manifest.KEY: replace(read_artifact(tiny).manifest, labels=tuple("abcde")).to_json()}
    )
    onnx_model.save(model, letters)
    with running(letters, tiny) as server:
        yield server


@pytest.fixture
def show(open_page: Callable[..., Page]) -> Callable[..., Page]:
    """Opens a page of a server. A refused upload is a complaint that is expected."""

    def show_path(server: Running, path: str = "/", **settings: Any) -> Page:
        base = f"http://{server.address}"
        return open_page(base + path, **{"own": (base, "blob:"), "expected": "status of 40", **settings})

    return show_path


def operations(server: Running) -> int:
    return sum(map(len, server.client.get("/openapi.json").json()["paths"].values()))


def test_upload_and_result(show: Callable[..., Page], two_models: Running, photos: Path) -> None:
    page = show(two_models)
    page.set_input_files("#files", [photos / name for name in PHOTOS])
    expect(page.locator("#status")).to_have_text("4 classified.")
    cards = page.locator("article")
    assert cards.locator("h2").all_inner_texts() == list(PHOTOS)
    first = cards.first.locator(".predictions li")
    assert first.count() == 5
    wanted = two_models.registry.get("letters").classifier.classify(photos / PHOTOS[0]).predictions
    texts = [tuple(row.locator("span:not(.fill)").all_inner_texts()) for row in first.all()]
    assert texts == [(row.label, f"{100 * row.probability:.2f} %") for row in wanted]
    widths = [box["width"] for box in (bar.bounding_box() for bar in first.locator(".fill").all())]
    assert [width / widths[0] for width in widths] == pytest.approx(
        [row.probability / wanted[0].probability for row in wanted], abs=0.02
    )
    assert cards.first.locator("dt").all_inner_texts() == [
        "queue",
        "decode",
        "preprocess",
        "inference",
        "network",
        "total",
    ]
    assert all(re.fullmatch(r"\d+\.\d ms", text) for text in cards.first.locator("dd").all_inner_texts())
    page.wait_for_function("[...document.querySelectorAll('article img')].every((image) => image.naturalWidth > 0)")


def test_images_that_come_before_the_models_are_known(
    show: Callable[..., Page], two_models: Running, photos: Path
) -> None:
    page, held = show(two_models), list[Route]()
    page.route("**/models", lambda route: held.append(route))
    page.reload()
    page.set_input_files("#files", photos / "coffee.png")
    expect(page.locator("#status")).to_have_text("Classifying 1 image …")
    held[0].continue_()
    expect(page.locator("#status")).to_have_text("1 classified.")
    expect(page.locator("article .model")).to_have_text("letters")


def test_a_broken_file_shows_its_error_among_the_others(
    show: Callable[..., Page], two_models: Running, photos: Path, tmp_path: Path
) -> None:
    (tmp_path / "<b>broken.jpg").write_bytes(b"\xff\xd8\xff")
    page = show(two_models)
    page.set_input_files("#files", [tmp_path / "<b>broken.jpg", photos / "coffee.png"])
    expect(page.locator("#status")).to_have_text("1 classified, 1 failed.")
    broken, fine = page.locator("article").all()
    expect(broken.locator(".error")).to_contain_text("its header is damaged")
    assert broken.locator("h2").inner_text() == "<b>broken.jpg"
    assert (broken.locator("li").count(), fine.locator("li").count()) == (0, 5)
    expect(fine.locator(".error")).to_be_hidden()


def test_another_model_by_keyboard_alone(show: Callable[..., Page], two_models: Running, photos: Path) -> None:
    page = show(two_models)
    page.on(
        "filechooser", lambda _: None
    )  # from now on the browser hands choosers over; asked for only at the Space, that may come too late
    expect(page.locator("#model option")).to_have_count(2)
    for _ in range(2):  # past the link to the API
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "model"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "files"
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Space")
    chooser.value.set_files(photos / "coffee.png")
    expect(page.locator(".predictions li")).to_have_count(5)
    assert page.locator(".predictions li").first.inner_text().split()[0] in LABELS


def test_versions_are_listed(show: Callable[..., Page], tiny: Path, tmp_path: Path, photos: Path) -> None:
    """With their number where there are several; the newest of the first model is chosen."""
    for name in ("net/9", "net/10"):
        (tmp_path / name).mkdir(parents=True)
        shutil.copy(tiny, tmp_path / name)
    with running(tmp_path / "net", tiny, versions="all") as server:
        page = show(server)
        options = page.locator("#model option")
        expect(options).to_have_text(["net/10 (5 classes)", "net/9 (5 classes)", "tiny (5 classes)"])
        page.select_option("#model", "net/9")
        page.set_input_files("#files", photos / "coffee.png")
        expect(page.locator("article .model")).to_have_text("net/9")
        expect(page.locator(".predictions li")).to_have_count(5)


@pytest.mark.parametrize(("event", "carrier"), [("drop", "dataTransfer"), ("paste", "clipboardData")])
def test_drop_and_paste(show: Callable[..., Page], two_models: Running, photos: Path, event: str, carrier: str) -> None:
    page, small = show(two_models), io.BytesIO()
    with Image.open(photos / "coffee.png") as image:
        image.reduce(2).save(small, "JPEG")
    expect(page.locator("#model option")).to_have_count(2)
    page.evaluate(
        """([event, carrier, bytes]) => {
            const data = new DataTransfer();
            data.items.add(new File([new Uint8Array(bytes)], "coffee.jpg", {type: "image/jpeg"}));
            const kind = event === "drop" ? DragEvent : ClipboardEvent;
            document.body.dispatchEvent(new kind(event, {[carrier]: data, bubbles: true, cancelable: true}));
        }""",
        [event, carrier, list(small.getvalue())],
    )
    expect(page.locator(".predictions li").first).to_contain_text("d")


def test_a_key_is_asked_for_and_a_wrong_one_is_called_wrong(
    show: Callable[..., Page], tiny: Path, photos: Path
) -> None:
    with running(tiny, api_keys=(KEY,)) as server:
        page = show(server)
        expect(page.locator("#status")).to_have_text("This server requires an API key.")
        page.keyboard.type(KEY + "x")
        page.keyboard.press("Enter")
        expect(page.locator("#status")).to_have_text("This API key is wrong.")
        page.set_input_files("#files", photos / "coffee.png")
        expect(page.locator("article .error")).to_have_text("This API key is wrong.")
        page.fill("#key", KEY)
        page.keyboard.press("Enter")
        expect(page.locator("#model option")).to_have_count(1)
        expect(page.locator(".predictions li")).to_have_count(5)
        expect(page.locator("article .error")).to_be_hidden()


def test_each_result_names_its_model_and_another_model_runs_the_images_again(
    show: Callable[..., Page], two_models: Running, photos: Path
) -> None:
    page = show(two_models)
    page.set_input_files("#files", [photos / name for name in PHOTOS[:2]])
    expect(page.locator("#status")).to_have_text("2 classified.")
    assert page.locator("article .model").all_inner_texts() == ["letters"] * 2
    page.select_option("#model", "tiny")
    expect(page.locator("article .model").nth(1)).to_have_text("tiny")
    expect(page.locator("article .model").first).to_have_text("tiny")
    expect(page.locator("#status")).to_have_text("2 classified.")
    assert page.locator(".predictions li").count() == 10
    assert page.locator(".predictions li").first.inner_text().split()[0] in LABELS


def test_a_server_that_is_gone_is_said_and_failed_images_can_be_tried_again_or_removed(
    show: Callable[..., Page], two_models: Running, photos: Path
) -> None:
    page = show(two_models, expected="Failed to load resource")
    expect(page.locator("#empty")).to_contain_text("Each image that you choose is sent to this server")
    expect(page.locator("#tools")).to_be_hidden()
    expect(page.locator("#model option")).to_have_count(2)

    def choose_where(network: Callable[..., None]) -> None:
        page.route("**/classify*", network)
        page.set_input_files("#files", photos / "coffee.png")
        expect(page.locator("article.waiting")).to_have_count(0)
        page.unroute("**/classify*")

    choose_where(lambda route: route.fulfill(status=502, body="<html>"))
    expect(page.locator(".error")).to_contain_text("The answer cannot be read (status 502)")
    page.click("#clear-failed")
    expect(page.locator("#empty")).to_be_visible()
    choose_where(lambda route: route.abort())
    expect(page.locator(".error")).to_have_text(
        "The server does not answer: it has stopped, or there is no connection to it."
    )
    page.set_input_files("#files", photos / "rocket.jpg")
    expect(page.locator("#status")).to_have_text("1 classified, 1 failed.")
    page.click("#again")
    expect(page.locator("#status")).to_have_text("2 classified.")
    expect(page.locator("#clear-failed")).to_be_hidden()
    page.locator("#stages summary").click()
    explained = page.locator("#stages dt").all_inner_texts()
    assert explained == page.locator("article").first.locator("dt").all_inner_texts()
    page.click("#clear")
    expect(page.locator("#empty")).to_be_visible()


def test_warnings_are_shown(show: Callable[..., Page], changed: Callable[..., Path], tiny: Path) -> None:
    with running(changed(lambda model: setattr(model, "producer_name", "someone"))) as server:
        expect(show(server).locator("#model-warnings")).to_contain_text("was changed after it was sealed")


def test_the_warning_of_an_image_is_on_its_card(
    show: Callable[..., Page], two_models: Running, photos: Path, tmp_path: Path
) -> None:
    Image.fromarray(np.arange(4096, dtype=np.uint16).reshape(64, 64)).save(tmp_path / "dark.png")
    page = show(two_models)
    page.set_input_files("#files", [tmp_path / "dark.png", photos / "coffee.png"])
    expect(page.locator("#status")).to_have_text("2 classified.")
    dark, fine = page.locator("article").all()
    expect(dark.locator(".warning")).to_contain_text("reach only 4,095 of 65,535")
    expect(dark.locator(".warning")).to_have_text(re.compile(r"the server's operator can set --value-range 0:4095$"))
    expect(fine.locator(".warning")).to_be_hidden()


def test_on_a_phone_nothing_sticks_out(show: Callable[..., Page], two_models: Running, photos: Path) -> None:
    for path in ("/", "/docs"):
        page = show(two_models, path, viewport={"width": 360, "height": 740})
        if path == "/":
            page.set_input_files("#files", photos / "coffee.png")
            expect(page.locator(".predictions li")).to_have_count(5)
        else:
            expect(page.locator(".operation")).to_have_count(operations(two_models))
            page.evaluate("for (const row of document.querySelectorAll('.row')) row.open = true")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_dark_mode(show: Callable[..., Page], two_models: Running) -> None:
    light, dark = show(two_models, color_scheme="light"), show(two_models, color_scheme="dark")
    assert brightness(light, "backgroundColor") > 0.9 > 0.3 > brightness(light, "color")
    assert brightness(dark, "backgroundColor") < 0.2 < 0.8 < brightness(dark, "color")


def test_docs_show_every_endpoint_with_schemas_and_lines_to_copy(
    show: Callable[..., Page], two_models: Running, photos: Path, tmp_path: Path
) -> None:
    page = show(two_models, "/docs", permissions=["clipboard-read", "clipboard-write"])
    expect(page.locator(".operation")).to_have_count(operations(two_models))
    classify = page.locator(".operation").first  # the one that is open
    expect(classify.locator("table").first).to_contain_text("top_k")
    expect(classify).to_contain_text("The deadline passed")
    expect(page.locator(".operation").nth(1).locator("table").first).to_be_hidden()
    expect(page.locator("#schema-Row table")).to_be_hidden()
    classify.get_by_role("link", name="Row").first.click()
    expect(page.locator("#schema-Row table")).to_be_visible()
    expect(page.locator("#schema-Row table")).to_contain_text("predictions")
    for name in ("cat.jpg", "dog.jpg"):
        shutil.copy(photos / "rocket.jpg", tmp_path / name)
    for number, rows in enumerate((1, 2, 1, 1)):
        sample = classify.locator(".example").nth(number)
        sample.get_by_role("button").click()
        expect(sample.get_by_role("button")).to_have_text("Copied")
        line = page.evaluate("navigator.clipboard.readText()")
        done = subprocess.run(["bash", "-euc", line], cwd=tmp_path, capture_output=True, text=True, check=True)
        assert done.stdout.count('"predictions":[{') == rows


def test_docs_have_no_heading_of_schemas_before_they_have_arrived(
    show: Callable[..., Page], two_models: Running
) -> None:
    page = show(two_models, "/docs", expected="Failed to load resource")
    heading = page.get_by_role("heading", name="Schemas")
    expect(heading).to_be_visible()
    page.route("**/openapi.json", lambda route: route.abort())
    page.reload()
    expect(page.locator("#about")).to_contain_text("The server does not answer")
    expect(heading).to_be_hidden()


def test_under_a_path_prefix(show: Callable[..., Page], tiny: Path, photos: Path) -> None:
    """Everything the pages load and link to is below the prefix."""
    with running(tiny, root_path="/cats") as server:
        base = f"http://{server.address}/cats/"
        page = show(server, "/cats", own=(base, base.removesuffix("/"), "blob:"))
        assert page.url == base
        page.set_input_files("#files", photos / "coffee.png")
        expect(page.locator(".predictions li")).to_have_count(5)
        page.get_by_role("link", name="API").click()
        expect(page.locator(".operation")).to_have_count(operations(server))
        expect(page.locator(".example pre").nth(1)).to_contain_text(f"dog.jpg {base}classify")
        page.get_by_role("link", name="Try it").click()
        expect(page.locator("#model option")).to_have_count(1)
        assert server.client.get("/cats/openapi.json").json()["servers"] == [{"url": "/cats"}]
