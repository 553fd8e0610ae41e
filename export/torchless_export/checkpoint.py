"""State dicts in files: .pth and .pt as torch writes them, .safetensors. No code in them is ever run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from torchless_export.errors import WeightsError


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The tensors in a checkpoint file, on the CPU. Raises WeightsError if it is missing, damaged, or anything but a state dict."""
    if not path.is_file():
        raise WeightsError(f"there is no checkpoint file {path}")
    try:
        state = _read(path)
    except Exception as error:  # torch and safetensors raise whatever the bytes lead them to
        raise WeightsError(
            f"cannot read the checkpoint {path}: {_first_line(error)}; it takes a state dict, saved with "
            "torch.save(model.state_dict(), FILE) or safetensors.torch.save_file. Files that hold pickled code are refused"
        ) from error
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds no state dict (names and tensors), but {_kind_of(state)}")
    return dict(state)


def load_into(module: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Loads every tensor into `module`. Raises WeightsError that names the first keys and shapes which do not fit."""
    own = module.state_dict()
    missing, surplus = [key for key in own if key not in state], [key for key in state if key not in own]
    shapes = [
        f"{key} ({_shape(value)} here, {_shape(own[key])} in the model)"
        for key, value in state.items()
        if key in own and own[key].shape != value.shape
    ]
    findings = (("missing from the file", missing), ("not in the model", surplus), ("of another shape", shapes))
    problems = [f"{len(names)} {what}: {_some(names)}" for what, names in findings if names]
    if problems:
        raise WeightsError(f"the checkpoint {path} does not fit the model: {'; '.join(problems)}")
    module.load_state_dict(state)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _shape(tensor: torch.Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "scalar"


def _kind_of(state: Any) -> str:
    return f"a mapping with {_some([str(key) for key in state])}" if isinstance(state, Mapping) else f"a {type(state).__name__}"


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0] or type(error).__name__
