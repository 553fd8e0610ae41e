"""KServe's and Triton's clients as pip installs them, with their own versions of grpcio and protobuf."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.clients import PACKAGES, failures, run_client, serving
from tests.install.conftest import Environment


@pytest.mark.slow
@pytest.mark.parametrize("name", PACKAGES)
def test_every_call_works(name: str, tiny: Path, tmp_path: Path, make_environment: Callable[..., Environment]) -> None:
    """`make clients` runs the same, and perf_analyzer."""
    environment = make_environment(f"client-{name}", *PACKAGES[name])
    with serving(tiny, tmp_path) as about:
        row = run_client(name, lambda *arguments: environment.run("python", *arguments).stdout, about)
    assert failures([row]) == []
    assert sum(map(len, row["clients"].values())) == {"kserve": 10, "tritonclient": 42}[name]
