"""docs/serving.md: every example is run against a real server, and prints what it says."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import REPO
from tests.runtime.serve.conftest import running

BLOCKS = re.findall(
    r"^```(\w+)\n(.*?)^```$", (REPO / "docs" / "serving.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
)


def roughly(value: Any) -> Any:
    """Numbers as the document rounds them."""
    if isinstance(value, float):
        return pytest.approx(value, abs=2e-3)
    if isinstance(value, dict):
        return {key: roughly(item) for key, item in value.items()}
    return [roughly(item) for item in value] if isinstance(value, list) else value


def test_every_example(lite0: Path, photos: Path, tmp_path: Path) -> None:
    for name in ("coffee.png", "rocket.jpg"):
        shutil.copy(photos / name, tmp_path)
    (tmp_path / "broken.jpg").touch()
    shutil.copy(lite0, tmp_path)
    outputs = []
    with running(lite0, grpc_port=0) as server:
        for language, block in BLOCKS:
            code = block.replace("127.0.0.1:8000", server.address).replace("127.0.0.1:8001", server.grpc_address)
            match language:
                case "sh" | "python":
                    program = ["bash", "-euo", "pipefail", "-c"] if language == "sh" else [sys.executable, "-c"]
                    done = subprocess.run([*program, code], cwd=tmp_path, capture_output=True, text=True, check=False)
                    assert (done.returncode, done.stderr) == (0, ""), code
                    outputs.append(done.stdout)
                case "js":
                    assert "/classify" in code  # tests/runtime/serve/test_page.py has a browser
                case "json":
                    assert json.loads(outputs[-1]) == roughly(json.loads(block))
                case "text":
                    assert outputs[-1] == block
    ((_, metadata, classified),) = (output.splitlines() for output in outputs if output.startswith("200\n"))
    assert json.loads(metadata)["name"] == "efficientnet_lite0_image"
    assert json.loads(classified)["outputs"][0]["data"][0].endswith(":967:espresso")
    assert b'"binary_data_size":4000' in (tmp_path / "answer.bin").read_bytes()
    assert [language for language, _ in BLOCKS].count("python") == 4
