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


@pytest.mark.parametrize(
    ("said", "spins"),
    [({}, "1000"), ({"GOMP_SPINCOUNT": "5"}, "5"), ({"OMP_WAIT_POLICY": "active"}, None)],
)
def test_torchs_threads_spin_less_unless_the_user_says_how_they_wait(
    monkeypatch: pytest.MonkeyPatch, said: dict[str, str], spins: str | None
) -> None:
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    require_torch()
    assert os.environ.get("GOMP_SPINCOUNT") == spins
