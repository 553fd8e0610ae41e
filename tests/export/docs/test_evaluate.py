"""docs/evaluate.md: its figures are what the command prints."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.conftest import REPO


def test_the_figures_in_the_docs(command_line: Callable[..., tuple[int, str, str]], lite0: Path) -> None:
    """A real ImageNet model on real photos; make evaluate-docs wrote the file."""
    wanted = json.loads((REPO / "figures" / "evaluate" / "photos.json").read_text())
    code, out, _ = command_line("torchless", "evaluate", lite0, REPO / "examples" / "photos.csv", "--json", "-d", "cpu")
    got = json.loads(out)
    assert code == 0
    for name in ("images", "top1_error", "top5_error", "classes", "confusions"):
        assert got[name] == wanted[name]
    assert [got["ece"], got["mean_confidence"]] == pytest.approx([wanted["ece"], wanted["mean_confidence"]], abs=1e-3)
