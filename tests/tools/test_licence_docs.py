"""The SBOM that is committed is of the versions that are tested, and the table of licences is drawn from it."""

import json
import re

from tests.conftest import REPO, load_tool

TOOL = load_tool("licence_docs")
SBOM = json.loads(TOOL.SBOM.read_text())


def test_the_page_is_filled_from_the_sbom() -> None:
    page = TOOL.PAGE.read_text()
    assert TOOL.fill(page, {"licences": TOOL.licence_table(SBOM)}) == page


def test_the_sbom_lists_what_runs_in_the_tested_versions() -> None:
    assert (SBOM["bomFormat"], SBOM["specVersion"]) == ("CycloneDX", "1.6")
    pinned = dict(re.findall(r"^([\w.-]+)==([^\s;]+)", (REPO / "constraints.txt").read_text(), re.MULTILINE))
    versions = {one["name"]: one["version"] for one in TOOL.packages(SBOM)}
    assert versions == {name: pinned[name] for name in versions}
    assert {"numpy", "pillow", "typer", "onnxruntime", "starlette", "pyarrow", "fsspec", "cryptography"} <= set(versions)
    assert not {"torch", "onnx", "pip"} & set(versions)


def test_a_licence_is_told_however_it_is_declared() -> None:
    def told(*licenses: dict) -> str:
        return TOOL.licence({"licenses": licenses})

    assert told({"expression": "MIT"}, {"license": {"name": "the text"}}) == "MIT"
    assert (
        told({"license": {"id": "ISC"}}, {"license": {"name": "License :: OSI Approved :: Apache Software License"}})
        == "ISC, Apache Software License"
    )
    assert told({"license": {"name": "x" * 61}}) == "its own"
    assert told() == "not declared"
