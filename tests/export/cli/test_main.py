"""The export verbs in the runtime's command line."""

import os

import pytest
from tests.runtime.test_package import HEAVY, loaded_after

from torchless_export.cli.options import require_torch


def test_they_cost_typer_alone() -> None:
    loaded = loaded_after(
        "import torchless.cli.main, torchless.cli.options, torchless.cli.start, torchless_export.cli.main"
    )
    assert loaded & HEAVY == {"typer", "torchless_export"}


def test_torchs_threads_wait_without_spinning_unless_the_user_says_otherwise(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    require_torch()
    assert os.environ["OMP_WAIT_POLICY"] == "active"
    monkeypatch.delenv("OMP_WAIT_POLICY")
    require_torch()
    assert os.environ["OMP_WAIT_POLICY"] == "passive"
