"""tools/zoo.py: it continues where it stopped, and leaves nothing out."""

import json
from pathlib import Path

import pytest

import zoo
from torchless_export.gate.limits import MAX_UNITS


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zoo, "ROOT", tmp_path)
    monkeypatch.setattr(zoo, "RESULTS", tmp_path / "zoo.json")
    monkeypatch.setattr(zoo, "FOLDER", tmp_path / "zoo")


@pytest.mark.slow
def test_one_real_model(capsys: pytest.CaptureFixture) -> None:
    assert zoo.run(["squeezenet1_1"]) == 0
    assert "1 of 1 pass the gate" in capsys.readouterr().out
    (row,) = json.loads(zoo.RESULTS.read_text())["models"]
    assert (row["model"], row["passed"], row["parameters"], row["image_size"]) == (
        "squeezenet1_1",
        True,
        1_235_496,
        224,
    )
    assert all(0 < found["units"] < MAX_UNITS for found in row["sets"].values())
    assert row["seconds"] > 1
    assert row["peak_memory_mb"] > 100
    assert [path.name for path in zoo.FOLDER.iterdir()] == ["squeezenet1_1.log"]


def test_a_model_that_fails_has_a_row_and_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
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
    monkeypatch.setattr(zoo, "here", lambda: {"date": "2026-11-26", "machine": {"processor": "another"}})
    assert zoo.run(["alexnet"]) == 0
    assert tried[3:] == ["alexnet"]  # figures of two machines are never in one file
