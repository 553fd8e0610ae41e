"""tools/pages.py: every page says, and every picture shows, what the committed figures say."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPO
from tests.tools.pictures import check_same_png, check_same_svg

import pages
from rendering import goals, origin, performance, sections

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


# Of what is no measurement, and of tables whose rows have days of their own.
_WITHOUT_MACHINE = {"clients", "prices", "torch-versions", "python-versions", "evaluate/digits", "evaluate/photos"}
_WITHOUT_MACHINE |= {"image-formats"}  # depends on none
_WITHOUT_MACHINE |= {"compare/measurements", "real/measurements", "gpu/compare/measurements"}  # have it for each run


def _parts(document: Any) -> Iterator[dict[str, Any]]:
    """What was measured at once: the whole file, or each of its sections."""
    if isinstance(document, dict) and "machine" in document:
        yield document
    else:
        for child in document.values() if isinstance(document, dict) else document:
            yield from _parts(child)


def test_all_figures_say_on_which_day_and_machine() -> None:
    for path in (REPO / "figures").rglob("*.json"):
        if path.relative_to(REPO / "figures").with_suffix("").as_posix() in _WITHOUT_MACHINE or path.stem == "quick":
            continue
        parts = [*_parts(json.loads(path.read_text()))]
        assert parts
        for part in parts:
            assert re.fullmatch(r"\d{4}-\d\d-\d\d( to \d{4}-\d\d-\d\d)?", part["date"]), path
            assert origin.measured(part)


def test_where_little_is_known_that_is_said() -> None:
    old = {"processor": "AMD EPYC", "cpus": 2, "memory_gb": None, "system": "", "gpu": None}
    known = {"processor": "B", "cpus": 1, "memory_gb": 8, "system": "S", "gpu": None, "ghz": 2.5, "features": ["avx2"]}
    documents = [{"date": "2026-11-25", "machine": machine} for machine in (old, known, None, None)]
    assert origin.measured(*documents) == (
        "Measured on 2026-11-25 on AMD EPYC, 2 processors (memory, frequency, instruction sets: not recorded). "
        "Measured on 2026-11-25 on B, 1 processor of 2.5 GHz, 8 GB, S, AVX2. "
        "Measured on 2026-11-25; the machine was not recorded."
    )


def test_figures_of_two_machines_are_not_set_in_relation() -> None:
    bench = json.loads((REPO / "figures" / "bench.json").read_text())
    part, folders = bench["arithmetic"], bench["folders"]
    assert "%" in performance.arithmetic(part, folders)
    other = folders | {"machine": folders["machine"] | {"features": ["avx512_vnni"]}}
    assert performance.arithmetic(part, other).startswith("Not told: the two were measured on different machines")


def test_what_was_measured_again_stands_beside_what_was_said_first() -> None:
    bench, comparison = (
        json.loads((REPO / "figures" / name).read_text()) for name in ("bench.json", "compare/comparison.json")
    )
    rows = [
        {"model": "densenet121", "method": method, "p50_ms": times}
        for method, times in (("torchless", [30.0, 50.0, 32.0]), ("compare", [33.0, 64.0, 31.0]))
    ]
    bench["again"] = bench["forward"] | {"date": "2026-11-26", "found": rows}
    text = sections.again(bench, comparison)
    assert "- densenet121, ms, with the range of the rounds: torchless 49.52 (44.39–53.11)," in text
    assert "| ms, 3 rounds | median | quickest round | slowest | of torchless's median |" in text
    assert "| densenet121, `compare` | 33.00 | 31.00 | 64.00 | 1.03 × |" in text
    assert "Measured on 2026-11-26 on " in text
    del bench["again"]
    assert sections.again(bench, comparison).endswith("They have not been measured again yet.")


def test_the_stages_of_an_export() -> None:
    results = json.loads((REPO / "figures" / "bench.json").read_text())
    seconds = {name: number + 0.25 for number, name in enumerate(performance.EXPORT_STAGES)}
    row = {"model": "resnet50", "seconds": seconds, "alone": {"dynamo": 5.04, "torchscript": 1.0}}
    results["export"] = results["forward"] | {"found": [row]}
    assert "| resnet50 | 0.2 | 1.2 | 2.2 | 3.2 | 4.2 | 5.2 | 6.2 | 7.2 | 5.0 | 1.0 |" in performance.export(results)
    assert "| export and proof, whole process: resnet50 | ≤ 20 s | 6.2 s |" in goals.table_of_goals(results, {})
    del results["export"]
    assert performance.export(results) == "Not measured yet: `make bench ARGS=export`."


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
