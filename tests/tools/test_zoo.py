"""tools/zoo.py: it goes on where it was, leaves nothing out, and the committed table is what the committed figures say."""

import json
from pathlib import Path
from types import ModuleType

import pytest
from tests.conftest import REPO, load_tool

from torchless_export.gate.limits import MAX_UNITS
from torchless_export.sources.catalog import model_names


@pytest.fixture
def zoo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    module = load_tool("zoo")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "RESULTS", tmp_path / "zoo.json")
    monkeypatch.setattr(module, "FOLDER", tmp_path / "zoo")
    return module


@pytest.mark.slow
def test_one_real_model(zoo: ModuleType, capsys: pytest.CaptureFixture) -> None:
    assert zoo.run(["squeezenet1_1"]) == 0
    assert "1 of 1 pass the gate" in capsys.readouterr().out
    (row,) = json.loads(zoo.RESULTS.read_text())["models"]
    assert (row["model"], row["passed"], row["parameters"], row["image_size"]) == ("squeezenet1_1", True, 1_235_496, 224)
    assert all(0 < found["units"] < MAX_UNITS for found in row["sets"].values())
    assert row["seconds"] > 1
    assert row["peak_memory_mb"] > 100
    assert [path.name for path in zoo.FOLDER.iterdir()] == ["squeezenet1_1.log"]


def test_a_model_that_fails_has_a_row_and_is_tried_again(zoo: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def export(name: str) -> dict:
        tried.append(name)
        cost = {"seconds": 1.0, "peak_memory_mb": 1}
        if name == "resnet18" and tried.count(name) == 1:
            return {"model": name, "passed": False, "exit_code": 5, "error": "logits_photos FAILED", **cost}
        return {"model": name, "passed": True, **cost}

    monkeypatch.setattr(zoo, "export", export)
    assert zoo.run(["alexnet", "resnet18"]) == 1
    assert zoo.run(["alexnet", "resnet18"]) == 0
    assert tried == ["alexnet", "resnet18", "resnet18"]


def test_a_failure_is_shown_with_its_cause(zoo: ModuleType) -> None:
    row = {"model": "resnet18", "passed": False, "exit_code": 5, "error": "logits_photos FAILED", "seconds": 2.0, "peak_memory_mb": 1000}
    text = zoo.render({"versions": {}, "cpus": 2, "models": [row]})
    assert "0 of 1 torchvision classifiers pass the gate" in text
    assert "| resnet18 | **failed**, exit code 5 |" in text
    assert "logits_photos FAILED" in text


def test_the_committed_table_is_rendered_from_the_committed_figures(zoo: ModuleType) -> None:
    results = json.loads((REPO / "figures" / "zoo.json").read_text())
    assert (REPO / "docs" / "zoo.md").read_text() == zoo.render(results)
    assert [row["model"] for row in results["models"]] == model_names()
    assert all(row["passed"] for row in results["models"])  # as the README says
