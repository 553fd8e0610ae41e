"""Files that other programs read follow the schemas that these publish: check-jsonschema brings them."""

import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import REPO

from torchless.shipping import container

WORKFLOWS = sorted((REPO / ".github" / "workflows").glob("*.yml"))


def check(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", f"vendor.{schema}", *files]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_workflows(tmp_path: Path) -> None:
    assert len(WORKFLOWS) == 2
    done = check("github-workflows", *WORKFLOWS)
    assert done.returncode == 0, done.stdout
    broken = tmp_path / "broken.yml"
    broken.write_text(WORKFLOWS[0].read_text().replace("runs-on:", "runs_on:"))
    assert check("github-workflows", broken).returncode == 1


@pytest.mark.parametrize("gpu", [False, True])
def test_the_example_for_compose(tiny: Path, tmp_path: Path, gpu: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "own_wheel", lambda folder: folder / "torchless-1.2.3-py3-none-any.whl")
    monkeypatch.setattr(container, "collect_wheels", lambda folder, **_: folder / "torchless-1.2.3-py3-none-any.whl")
    container.write_build_folder(tiny, tmp_path / "image", gpu=gpu)
    done = check("compose-spec", tmp_path / "image" / "compose.yaml")
    assert done.returncode == 0, done.stdout


def test_tests_of_the_workflow_exist() -> None:
    text = (REPO / ".github" / "workflows" / "test.yml").read_text()
    named = {word for word in text.split() if word.startswith(("tests/", "export/"))}
    assert len(named) > 4
    assert all((REPO / name).exists() for name in named), named
