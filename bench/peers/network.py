"""The PyTorch network that an artifact of the bench was exported from: same architecture, same weights."""

import sys
from pathlib import Path

import torch
from torch import nn
from torchvision.models import get_model

sys.path.insert(0, str(Path(__file__).parents[2]))  # examples/


def network(artifact: Path) -> nn.Module:
    """In eval mode, with the weights that lie beside `artifact`."""
    if artifact.stem == "efficientnet_lite0":
        from examples.efficientnet_lite import lite0

        module = lite0()[0]
    else:
        module = get_model(artifact.stem, weights=None)
        module.load_state_dict(torch.load(artifact.with_suffix(".pth"), weights_only=True))
    return module.eval()
