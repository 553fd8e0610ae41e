"""The network as PyTorch prints it, module by module, with what each gives: for `torchless inspect`, which has no
PyTorch.
"""

from typing import Any

import torch
from torch import nn

from torchless.model.inspection import Layer


def describe_layers(module: nn.Module, shape: tuple[int, int, int]) -> tuple[Layer, ...]:
    """Every module in `module`, in the order of print(module), with its output's shape for one image of `shape`
    (channels, height, width).
    """
    shapes: dict[nn.Module, tuple[int, ...]] = {}

    def note(layer: nn.Module, _: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes.setdefault(layer, tuple(output.shape))

    hooks = [layer.register_forward_hook(note) for layer in module.modules()]
    try:
        with torch.inference_mode():
            module(torch.zeros(1, *shape))
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(_layer(path, layer, shapes.get(layer)) for path, layer in module.named_modules())


def _layer(path: str, layer: nn.Module, shape: tuple[int, ...] | None) -> Layer:
    arguments = " ".join(layer.extra_repr().split())  # some write it on several lines
    own = sum(parameter.numel() for parameter in layer.parameters(recurse=False))
    return Layer(path=path, type=type(layer).__name__, arguments=arguments, output_shape=shape, parameters=own)
