"""Every example of docs/python.md, on a small model."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.surroundings import PATIENCE_S

PAGE = Path(__file__).parents[2] / "docs/python.md"
EXAMPLES = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_every_example(tiny: Path, photos: Path, tmp_path: Path, number: int) -> None:
    shutil.copy(tiny, tmp_path / "resnet50.onnx")
    shutil.copy(photos / "chelsea.png", tmp_path / "cat.jpg")  # the suffix does not matter
    shutil.copy(photos / "coffee.png", tmp_path / "dog.jpg")
    (tmp_path / "example.py").write_text(EXAMPLES[number])
    command = [sys.executable, "example.py"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE_S)
    assert (ended.returncode, ended.stderr) == (0, "")


def test_the_page_has_its_examples() -> None:
    assert len(EXAMPLES) == 3
