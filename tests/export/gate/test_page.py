"""The report of `torchless verify --report`, in a real browser."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest
from playwright.sync_api import Page
from tests.conftest import REPO, brightness

from torchless_export.gate.page import render
from torchless_export.verification import Verification, verify


def page_of(found: Verification) -> str:
    return render(
        found.artifact,
        found.verdict,
        labels=found.loaded.labels,
        tf32_metrics=found.tf32_metrics,
        unreadable=found.unreadable,
    )


@pytest.fixture
def show(open_page: Callable[..., Page], tmp_path: Path) -> Callable[..., Page]:
    """Opens a verification's page."""

    def show_verification(verification: Verification, **settings: Any) -> Page:
        (tmp_path / "report.html").write_text(page_of(verification), encoding="utf-8")
        return open_page((tmp_path / "report.html").as_uri(), **settings)

    return show_verification


@pytest.fixture(scope="module")
def passed(lite0: Path, photos: Path) -> Verification:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(REPO)
        return verify(lite0, images=[str(photos / name) for name in ("coffee.png", "chelsea.png")], thumbnails=True)


def test_what_a_person_sees(show: Callable[..., Page], passed: Verification) -> None:
    page = show(passed)
    assert page.title() == "efficientnet_lite0: parity passed"
    assert page.locator("h1").inner_text() == "efficientnet_lite0.onnx: parity passed"
    rows = page.locator("#checks tbody tr")
    assert rows.count() == len(passed.verdict.parity.checks) == 12
    assert rows.filter(has_text="logits_yours").inner_text().split()[1] == "ok"
    rows = [row.split("\t") for row in page.locator(".metrics tbody tr").all_inner_texts()]
    assert {row[0] for row in rows} == {"Noise", "Photos", "Your images"}
    assert len({(row[0], *row[2:]) for row in rows}) == len(rows) < 12  # what is equal is one row
    sizes = [size for row in rows if row[0] == "Noise" for size in row[1].split(", ")]
    assert sorted(map(int, sizes)) == [1, 2, 3, 8]
    assert [text.split(" in batches")[0] for text in page.locator("figure figcaption").all_inner_texts()] == [
        "Noise",
        "Photos",
        "Your images",
    ]
    coffee = page.locator(".alike > div", has_text="coffee.png").inner_text().splitlines()
    assert coffee[1].startswith("espresso 95.")
    assert page.locator(".image").count() == 0  # both sides answer alike: one line for each image, not two lists
    assert "None of 8 images has another order of the top five" in page.locator("body").inner_text()
    widths = page.locator(".alike img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) == 18
    assert min(widths) > 0


def test_the_histogram_can_be_read(show: Callable[..., Page], passed: Verification) -> None:
    for width in (1280, 390):
        page = show(passed, viewport={"width": width, "height": 800})
        for plot in page.locator("figure svg").all():
            bars, texts = plot.locator("rect"), plot.locator("text")
            assert bars.count() >= 8
            assert min(bars.evaluate_all("bars => bars.map(bar => bar.getBoundingClientRect().width)")) > 5
            shares = [float(text) for text in plot.locator("text.share").all_text_contents()]
            assert 90 < sum(shares) < 105  # percent of the logits: what the bars are
            assert any("largest" in text for text in texts.all_text_contents())
            heights = texts.evaluate_all("texts => texts.map(text => text.getBoundingClientRect().height)")
            assert min(heights) > 9
            overlaps = texts.evaluate_all("""texts => {
                const boxes = texts.map(text => text.getBBox());
                return boxes.some((a, i) => boxes.some((b, j) => i < j && a.x < b.x + b.width && b.x < a.x + a.width
                    && a.y + 2 < b.y + b.height && b.y + 2 < a.y + a.height));
            }""")
            assert not overlaps


def test_on_a_phone_nothing_sticks_out(show: Callable[..., Page], passed: Verification) -> None:
    page = show(passed, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.locator("#checks").evaluate("table => table.scrollWidth <= table.parentElement.clientWidth")


def test_dark_mode(show: Callable[..., Page], passed: Verification) -> None:
    light, dark = show(passed, color_scheme="light"), show(passed, color_scheme="dark")
    assert brightness(light, "backgroundColor") > 0.9 > 0.3 > brightness(light, "color")
    assert brightness(dark, "backgroundColor") < 0.2 < 0.8 < brightness(dark, "color")


def test_a_failure_shows_where_it_broke(
    show: Callable[..., Page], changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(model: onnx.ModelProto) -> None:
        weight = next(weight for weight in model.graph.initializer if len(weight.dims) == 4)
        weight.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(weight) * 3, weight.name))

    monkeypatch.chdir(REPO)
    page = show(verify(changed(change)))
    assert page.title() == "tiny: parity FAILED"
    assert page.locator("tr", has_text="logits_photos").inner_text().split()[1] == "FAILED"
    assert "where it broke: node node_Conv" in page.locator(".warning").first.inner_text()
    assert page.locator(".image .bad").count() > 0
    assert page.locator("li.differs").count() > 0


def test_a_file_that_could_not_be_run(
    show: Callable[..., Page], changed: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPO)
    page = show(verify(changed(lambda model: setattr(model, "ir_version", 11))))
    assert page.locator("tr", has_text="structure").inner_text().split()[1] == "FAILED"
    assert page.locator("figure").count() == 0


def test_names_from_outside_are_escaped(passed: Verification) -> None:
    hostile = "<script>alert(1)</script>"
    loaded = replace(passed.loaded, labels=(hostile,) * 1000)
    text = page_of(replace(passed, loaded=loaded, unreadable=(hostile, "\udcff")))
    assert hostile not in text
    assert "&lt;script&gt;alert(1)" in text
