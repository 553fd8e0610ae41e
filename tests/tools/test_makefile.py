"""`make help` names every target, and the programs it names are there."""

import re
import subprocess

from tests.conftest import REPO


def test_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=REPO, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (REPO / "Makefile").read_text(), re.MULTILINE)
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert set(phony[1].split()) == targets
    assert {line.split()[0] for line in shown.splitlines() if line and not line.startswith("Variables")} == targets


def test_a_model_must_be_named() -> None:
    done = subprocess.run(
        ["make", "--no-print-directory", "export"], cwd=REPO, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert "name a model: make export MODEL=resnet50" in done.stderr


def test_an_unknown_runtime_is_refused() -> None:
    done = subprocess.run(["make", "setup", "ORT=tpu"], cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "ORT is cpu, gpu or gpu-cuda12, not tpu" in done.stderr
