"""torchvision's networks without their weights: built at a given image size and number of classes, or only as a list of
shapes.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from torchless.errors import UsageError, first_line

Shapes = dict[str, tuple[int, ...]]

# The two networks with auxiliary heads, which only training uses. Their init_weights takes half a minute.
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
_AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")

_CHANNELS = 3
_CONVOLUTION = 4  # dimensions of its weight


class Layout(NamedTuple):
    """The names and shapes of a network's state dict, in order; the module `head` is its classifier, and the tensor
    `first` the weight of its first convolution.
    """

    shapes: Shapes
    head: str
    first: str

    @property
    def body(self) -> Shapes:
        """The shapes without the classifier's."""
        return {name: shape for name, shape in self.shapes.items() if not name.startswith(f"{self.head}.")}

    def allows(self, name: str, shape: tuple[int, ...]) -> bool:
        """Whether the tensor `name` may have this shape: its own, or for another number of channels."""
        own = self.shapes[name]
        return shape == own or (
            name == self.first and len(shape) == len(own) and (own[0], *own[2:]) == (shape[0], *shape[2:])
        )


def build(
    name: str, *, image_size: int, num_classes: int | None = None, channels: int = 3, transform_input: bool = False
) -> nn.Module:
    """The network with torchvision's initial weights, without auxiliary heads.

    `image_size` (pixels) matters to the networks that fix it when they are built: ViT and MaxViT. `transform_input`
    builds GoogLeNet and Inception to normalise their input once more, as torchvision does for its pretrained weights;
    images of another number of `channels` than three cannot be normalised so. Raises UsageError for a size that it
    cannot take.
    """
    arguments = options(name, image_size, num_classes, transform_input and channels == _CHANNELS)
    try:
        module: nn.Module = torchvision.models.get_model(name, weights=None, **arguments)
    except (AssertionError, ValueError) as error:  # not divisible by ViT's patches or MaxViT's windows
        raise UsageError(
            f"{name} cannot take images of {image_size}×{image_size} pixels: {first_line(error)}"
        ) from error
    if channels != _CHANNELS:
        _replace_first_convolution(module, channels)
    return module


@cache
def layout(name: str, *, image_size: int = 224, num_classes: int | None = None) -> Layout:
    """The names and shapes of the network's tensors. Takes no memory and almost no time."""
    module = without_memory(name, image_size=image_size, num_classes=num_classes)
    shapes = {key: tuple(value.shape) for key, value in module.state_dict().items()}
    first = next(key for key, shape in shapes.items() if len(shape) == _CONVOLUTION)
    return Layout(shapes, head=list(shapes)[-1].split(".")[0], first=first)  # the classifier comes last in all of them


def without_memory(name: str, *, image_size: int = 224, num_classes: int | None = None) -> nn.Module:
    """The network with its parameters on the device "meta"."""
    with _WithoutMemory():
        return build(name, image_size=image_size, num_classes=num_classes)


def drop_auxiliary_heads(module: nn.Module) -> None:
    """GoogLeNet's and Inception's heads for training never run in eval mode, but they would count as parameters."""
    for head in _AUXILIARY_HEADS:
        if getattr(module, head, None) is not None:
            setattr(module, head, None)
            setattr(module, "aux_logits", False)  # noqa: B010 - mypy takes any attribute of a module for a tensor


def options(
    name: str, image_size: int, num_classes: int | None = None, transform_input: bool = False
) -> dict[str, Any]:
    """What torchvision's function for this network takes to build it as `build` does."""
    arguments: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in _WITH_AUXILIARY_HEADS:
        arguments |= {"aux_logits": False, "init_weights": False, "transform_input": transform_input}
    if name.startswith("vit_"):
        arguments["image_size"] = image_size
    if name.startswith("maxvit"):
        arguments["input_size"] = (image_size, image_size)
    return arguments


def _replace_first_convolution(module: nn.Module, channels: int) -> None:
    name, old = next((name, child) for name, child in module.named_modules() if isinstance(child, nn.Conv2d))
    new = nn.Conv2d(
        channels,
        old.out_channels,
        old.kernel_size,  # type: ignore[arg-type]
        old.stride,  # type: ignore[arg-type]
        old.padding,  # type: ignore[arg-type]
        bias=old.bias is not None,
    )
    parent, _, last = name.rpartition(".")
    setattr(module.get_submodule(parent), last, new)


class _WithoutMemory(TorchFunctionMode):
    """Puts the parameters of networks built under it on the device "meta". torch.device("meta") would also move
    RegNet's arithmetic there.
    """

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        return function(*arguments, **(options | {"device": "meta"} if function is torch.empty else options))
