"""Checkpoint files that tests of sources write."""

from pathlib import Path

import torch
from torch import nn


def state_of(network: nn.Module) -> dict[str, torch.Tensor]:
    """A state dict with its names, types and shapes. Each tensor has one value everywhere, another than the others'; a
    file of it is small.
    """
    return {
        name: torch.full((), number % 97 / 97 + 0.5).to(value.dtype).expand(value.shape)
        for number, (name, value) in enumerate(network.state_dict().items())
    }


def prefixed(prefix: str, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {prefix + name: value for name, value in state.items()}


def labels_file(folder: Path, count: int) -> Path:
    (folder / "labels.txt").write_text("".join(f"label {number}\n" for number in range(count)))
    return folder / "labels.txt"
