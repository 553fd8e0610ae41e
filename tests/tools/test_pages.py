"""tools/pages.py: every page says, and every picture shows, what the committed figures say."""

import json
import re
import subprocess
from pathlib import Path

import pytest
from tests.conftest import REPO
from tests.tools.pictures import check_same_png, check_same_svg

import pages

LABELS = {row["model"] for row in json.loads((REPO / "figures" / "compare" / "comparison.json").read_text())["rows"]}
PICTURES = {path: draw for page in pages.PAGES for path, draw in page.pictures.items()}


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.path)
def test_a_page_says_what_its_figures_say(page) -> None:
    assert (REPO / page.path).read_text(encoding="utf-8") == page.text()


@pytest.mark.parametrize("path", PICTURES)
def test_a_picture_shows_what_its_figures_say(path: str) -> None:
    labels = LABELS if "bubble" in path else ()
    drawn, committed = PICTURES[path](), (REPO / path).read_bytes()
    if path.endswith(".svg"):
        check_same_svg(drawn, committed, placed=labels)
    else:
        check_same_png(drawn, committed, mean=1.0 if labels else 0.1)


@pytest.mark.parametrize(("part", "by"), [('fill="#000"', 'fill="#111"'), (">top-1<", ">top-5<"), ("12.5", "12.7")])
def test_another_picture_is_told_apart(part: str, by: str) -> None:
    svg = '<svg><g id="p0123456789"/><text x="12.5" fill="#000">top-1</text><use href="#p0123456789"/></svg>'
    check_same_svg(svg.replace("0123456789", "abcdef0123").replace("12.5", "12.49").encode(), svg.encode())
    with pytest.raises(AssertionError):
        check_same_svg(svg.replace(part, by).encode(), svg.encode())


def test_a_label_may_stand_elsewhere_but_must_be_there() -> None:
    committed = (REPO / "docs" / "compare" / "bubble-cpu.svg").read_text(encoding="utf-8")
    moved = re.sub(r"(<!-- resnet50 -->\s*<g [^>]*translate\()[\d.]+", r"\g<1>9", committed)
    check_same_svg(moved.encode(), committed.encode(), placed={"resnet50"})
    gone = moved.replace("<!-- resnet50 -->", "<!-- resnet5 -->")
    tick = re.sub(r'(<use [^>]*\bx=")[\d.]+', r"\g<1>9", committed, count=1)
    for other, placed in ((moved, {"resnet18"}), (gone, {"resnet50"}), (tick, {"resnet50"})):
        assert other != committed
        with pytest.raises(AssertionError):
            check_same_svg(other.encode(), committed.encode(), placed=placed)


def test_every_part_of_every_page_is_filled() -> None:
    files = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=REPO, capture_output=True, text=True, check=True
    ).stdout.split()
    there = {
        (file, name)
        for file in files
        for name in re.findall(r"^<!-- begin (\S+) -->$", (REPO / file).read_text(), re.MULTILINE)
    }
    assert there == {(page.path, name) for page in pages.PAGES for name in page.parts}


@pytest.mark.parametrize("name", ["docs/in-graph.md", "figures/in_graph.json"])
def test_what_is_named_is_written_and_nothing_else(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in ("docs/in-graph.md", "figures/in_graph.json"):
        (tmp_path / file).parent.mkdir()
        (tmp_path / file).write_text((REPO / file).read_text().replace(" ms |", " s |"))
    monkeypatch.setattr(pages, "ROOT", tmp_path)
    pages.main(name)
    assert (tmp_path / "docs" / "in-graph.md").read_text() == (REPO / "docs" / "in-graph.md").read_text()
    with pytest.raises(
        SystemExit, match=r"^docs/none.md: neither a page nor its figures; there are README.md, docs/compare.md, "
    ):
        pages.main("docs/none.md")


def test_a_page_without_the_part_is_refused() -> None:
    with pytest.raises(ValueError, match="no part named calibration"):
        pages.fill("# Nothing here", {"calibration": "x"})
