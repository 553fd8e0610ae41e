"""tools/serving_docs.py: what docs/serving.md says of load is what the committed figures say."""

import json
from types import ModuleType

import pytest
from tests.conftest import REPO, load_tool


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    return load_tool("serving_docs")


def test_the_committed_page_is_filled_from_the_committed_figures(tool: ModuleType) -> None:
    page = tool.PAGE.read_text()
    assert page == tool.fill(page, tool.parts(json.loads(tool.LOAD.read_text()), json.loads(tool.SOAK.read_text())))


def test_every_server_was_measured_and_every_answer_checked(tool: ModuleType) -> None:
    load = json.loads((REPO / "figures" / "serve.json").read_text())
    assert [found["model"] for found in load["models"]] == ["resnet18", "mobilenet_v3_small"]
    for found in load["models"]:
        assert {(row["server"], row["clients"]) for row in found["servers"]} == {(name, n) for name in tool.NAMES for n in (1, 8, 32, 128)}
        assert {(row["wrong_answers"], *row["statuses"]) for row in found["servers"]} == {(0, "200")}
        assert set(found["overload"]["overloaded"]["statuses"]) == {"200", "503"}
        assert found["different_answers"] > 8
