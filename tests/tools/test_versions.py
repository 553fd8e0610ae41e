"""Which versions are tried and claimed: tools/torch_versions.py and tools/python_versions.py, and pyproject.toml."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPO

import python_versions
import torch_versions

PROJECT: dict[str, Any] = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for module in (torch_versions, python_versions):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results.json")
        monkeypatch.setattr(module, "FOLDER", tmp_path / "environment")
    monkeypatch.setattr(torch_versions.zoo, "FOLDER", tmp_path / "zoo")
    return tmp_path / "results.json"


def test_the_oldest_torch_that_is_tried_is_the_oldest_that_is_admitted() -> None:
    (oldest,) = [need for need in PROJECT["optional-dependencies"]["export"] if need.startswith("torch>=")]
    assert torch_versions.VERSIONS[0].startswith(oldest.removeprefix("torch>="))
    rows = json.loads(torch_versions.RESULTS.read_text())["rows"]
    tried = [row["torch"] for row in rows]
    assert (tried[0], tried[-1]) == (torch_versions.VERSIONS[0], torch_versions.VERSIONS[-1])
    assert all(map(torch_versions.passed, rows))


def test_the_classifiers_name_what_was_proved() -> None:
    rows = json.loads(python_versions.RESULTS.read_text())["rows"]
    assert all(row["passed"] for row in rows)
    proved = {".".join(row["python"].split(".")[:2]) for row in rows if row["gil"]}
    claimed = re.findall(r"Python :: (3\.\d+)$", "\n".join(PROJECT["classifiers"]), re.MULTILINE)
    assert set(claimed) == proved
    free = [row for row in rows if not row["gil"]]
    assert ("Programming Language :: Python :: Free Threading" in PROJECT["classifiers"]) == bool(free)
    assert not any(row["gil_with_packages"] for row in free)


class TestTorch:
    def test_a_version_that_cannot_be_installed(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(version: str) -> Path:
            raise subprocess.CalledProcessError(1, "pip", stderr="no such torch")

        monkeypatch.setattr(torch_versions, "_install", fails)
        assert torch_versions.main("9.9.9") == 1
        (row,) = json.loads(results.read_text())["rows"]
        assert (row["torch"], row["error"], row["models"]) == ("9.9.9", "no such torch", [])

    def test_one_version_leaves_the_rows_of_the_others(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch_versions, "_install", lambda version: Path(sys.executable))
        monkeypatch.setattr(torch_versions, "_versions", lambda python: {})
        monkeypatch.setattr(torch_versions.zoo, "export", lambda name, **_: {"model": name, "passed": name != "swin_t"})
        results.write_text(json.dumps({"rows": [{"torch": "2.10.0", "models": []}]}))
        assert torch_versions.main("2.6.0") == 1
        assert [row["torch"] for row in json.loads(results.read_text())["rows"]] == ["2.6.0", "2.10.0"]


class TestPython:
    def test_what_is_not_here_is_listed(self, results: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
        def fails(name: str, wheel: Path) -> Path:
            raise subprocess.CalledProcessError(1, "pip", "", f"{wheel} does not fit")

        monkeypatch.setattr(python_versions, "_install", fails)
        monkeypatch.setattr(python_versions, "NAMES", ("python0.0", sys.executable))
        monkeypatch.setattr(python_versions, "_build_wheel", lambda folder: Path("none.whl"))
        assert python_versions.main([]) == 1
        assert "python0.0: not here" in capsys.readouterr().out
        found = json.loads(results.read_text())
        (row,) = found["rows"]
        assert row["name"] == Path(sys.executable).name
        assert not row["passed"]
        assert row["error"] == "none.whl does not fit"
