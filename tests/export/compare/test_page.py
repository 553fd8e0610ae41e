"""report.html, in a real browser."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from playwright.sync_api import Page
from tests.conftest import brightness

from torchless_export.compare.compare import write
from torchless_export.compare.comparison import Comparison
from torchless_export.compare.page import Picture, render
from torchless_export.compare.recommend import Limits, recommend
from torchless_export.compare.text import candidates

Make = Callable[..., Comparison]
NAMES = ("resnet18", "resnet50", "vgg16", "alexnet", "mobilenet_v3_large", "squeezenet1_1")


@pytest.fixture(scope="module")
def folder(make_comparison: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("comparison")
    comparison = make_comparison(NAMES)
    failed = replace(
        comparison, rows=(*comparison.rows[:-1], replace(comparison.rows[-1], errors=None, no_errors="own weights"))
    )
    write(replace(failed, failures=("vgg11: out of memory",)), Limits(max_latency_ms=30), path)
    return path


@pytest.fixture
def show(open_page: Callable[..., Page], folder: Path) -> Callable[..., Page]:
    """Opens the report."""
    return partial(open_page, (folder / "report.html").as_uri())


def shown(page: Page) -> list[str]:
    return [text.splitlines()[0] for text in page.locator("#models tbody tr:visible th").all_inner_texts()]


def test_what_a_person_sees(show: Callable[..., Page], folder: Path) -> None:
    page = show()
    assert page.title() == "Which model? 6 compared"
    assert "published by torchvision for IMAGENET1K_V1 or IMAGENET1K_V2" in page.locator("p.soft").first.inner_text()
    assert page.locator("#recommendation p").first.inner_text().startswith("take ")
    best = page.locator("tr.best th").inner_text().splitlines()[0]
    assert best in page.locator("#recommendation p").first.inner_text()
    assert "Left out: vgg11: out of memory" in page.locator(".warning").inner_text()
    assert "heading sorts. No errors for squeezenet1_1: own weights." in page.locator("body").inner_text()
    row = page.locator("tr", has_text="resnet50")
    assert row.locator("th").inner_text().splitlines() == ["resnet50", "none (errors of IMAGENET1K_V2)"]
    assert row.locator("td").all_inner_texts()[:2] == ["19.14", "4.57"]
    assert "GPU p50" not in page.locator("thead").inner_text()
    assert page.locator("body").inner_text().count("No times on the GPU: no NVIDIA driver is installed.") == 1
    widths = page.locator("figure img").evaluate_all("images => images.map(image => image.naturalWidth)")
    assert len(widths) == 4
    assert min(widths) > 400
    assert {path.name for path in folder.glob("*.png")} == {
        f"{name}.png" for name in ("bubble-cpu", "errors", "cpu-time", "size")
    }


def test_it_sorts_both_ways_and_keeps_what_is_unknown_last(show: Callable[..., Page]) -> None:
    page = show()
    assert shown(page) == ["resnet50", "mobilenet_v3_large", "vgg16", "resnet18", "alexnet", "squeezenet1_1"]
    error = page.get_by_role("button", name="top-1 error %")
    error.click()
    assert page.locator("th[aria-sort]").get_attribute("aria-sort") == "descending"
    assert shown(page) == ["alexnet", "resnet18", "vgg16", "mobilenet_v3_large", "resnet50", "squeezenet1_1"]
    error.click()
    assert shown(page)[0] == "resnet50"
    page.get_by_role("button", name="model", exact=True).click()
    assert shown(page) == ["alexnet", "mobilenet_v3_large", "resnet18", "resnet50", "squeezenet1_1", "vgg16"]
    page.get_by_role("button", name="size MB").click()
    assert shown(page)[0] == "squeezenet1_1"
    assert shown(page)[-1] == "vgg16"


def test_it_filters(show: Callable[..., Page]) -> None:
    page = show()
    assert page.locator("#count").inner_text() == "6 of 6 models"
    page.get_by_label("name, family or weights").fill("ResNet")
    assert shown(page) == ["resnet50", "resnet18"]
    assert page.locator("#count").inner_text() == "2 of 6 models"
    page.get_by_label("at most, MB").fill("60")
    assert shown(page) == ["resnet18"]
    page.get_by_role("button", name="show all").click()
    assert len(shown(page)) == 6
    page.get_by_label("at least, % top-1 accuracy").fill("75")
    assert shown(page) == ["resnet50", "mobilenet_v3_large"]  # and not the one whose errors are unknown
    page.get_by_label("at most, ms (CPU p50)").fill("20")
    assert shown(page) == ["mobilenet_v3_large"]


@pytest.fixture(scope="module")
def full(make_comparison: Make, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The widest table that there can be: times on a GPU, and errors with intervals."""
    path = tmp_path_factory.mktemp("full") / "report.html"
    comparison = make_comparison(gpu=True)
    interval = {"top1_low": 10.0, "top1_high": 20.0, "top5_low": 1.0, "top5_high": 20.0, "images": 50_000}
    rows = [replace(row, errors=replace(row.errors, source="measured", **interval)) for row in comparison.rows]
    where, choices = candidates(comparison)
    path.write_text(render(replace(comparison, rows=tuple(rows)), recommend(choices, Limits()), where, []))
    return path.as_uri()


@pytest.mark.parametrize("width", [1280, 390, 360])
def test_every_figure_is_in_sight(open_page: Callable[..., Page], full: str, width: int) -> None:
    page = open_page(full, viewport={"width": width, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator(".scroll").evaluate("element => element.scrollWidth <= element.clientWidth")
    cells = page.locator("#models tbody tr").first.locator("th, td")
    boxes = [cell.bounding_box() for cell in cells.all()]
    assert len(boxes) == 16
    assert all(box["x"] >= 0 and box["x"] + box["width"] <= width for box in boxes)
    assert all(cells.evaluate_all("cells => cells.map(cell => cell.scrollWidth <= cell.clientWidth)"))


def test_on_a_phone_each_figure_has_its_name_and_headings_sort(open_page: Callable[..., Page], full: str) -> None:
    page = open_page(full, viewport={"width": 390, "height": 800})
    cell = page.locator("#models tbody tr").first.locator("td").nth(2)
    assert cell.evaluate("cell => getComputedStyle(cell, '::before').content") == '"CPU p50, ms"'
    page.get_by_role("button", name="size MB").click()
    assert shown(page)[0] == "squeezenet1_1"


def test_dark_mode(show: Callable[..., Page]) -> None:
    light, dark = show(color_scheme="light"), show(color_scheme="dark")
    assert brightness(light, "backgroundColor") > 0.9
    assert brightness(dark, "backgroundColor") < 0.2
    pictures = [page.locator("figure img").first.evaluate("image => image.currentSrc") for page in (light, dark)]
    assert pictures[0] != pictures[1]


def test_with_a_gpu_it_has_columns_of_its_own(make_comparison: Make) -> None:
    comparison = make_comparison(("resnet18",), gpu=True)
    where, choices = candidates(comparison)
    page = render(comparison, recommend(choices, Limits()), where, [])
    assert ">GPU p95 <small>ms</small><" in page
    assert f"{comparison.rows[0].gpu.images_per_second:,.1f}" in page


def test_names_from_outside_are_escaped(make_comparison: Make) -> None:
    hostile = '"><script>alert(1)</script>'
    comparison = make_comparison(("resnet18",))
    comparison = replace(
        comparison,
        rows=(replace(comparison.rows[0], model=hostile, file=hostile, weights=hostile),),
        failures=(hostile,),
    )
    where, choices = candidates(comparison)
    page = render(comparison, recommend(choices, Limits()), where, [Picture(hostile, b"", b"")])
    assert "<script>alert" not in page
    assert page.count("&lt;script&gt;alert(1)") >= 4
