"""torchvision's networks without their weights: built at a given image size and number of classes, or only as a list of
shapes.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torchvision
from torch import nn
from torch.overrides import TorchFunctionMode

from torchless.errors import UsageError, first_line
from torchless_export.sources.catalog import model_names

Shapes = dict[str, tuple[int, ...]]

# The two networks with auxiliary heads, which only training uses. Their init_weights takes half a minute.
_WITH_AUXILIARY_HEADS = ("googlenet", "inception_v3")
_AUXILIARY_HEADS = ("aux1", "aux2", "AuxLogits")


def build(name: str, *, image_size: int, num_classes: int | None = None, like_pretrained: bool = False) -> nn.Module:
    """The network with torchvision's initial weights, without auxiliary heads.

    `image_size` (pixels) matters to the networks that fix it when they are built: ViT and MaxViT. `like_pretrained`
    builds GoogLeNet and Inception to transform their input, as torchvision does for its pretrained weights. Raises
    UsageError for a size that it cannot take.
    """
    try:
        module: nn.Module = torchvision.models.get_model(
            name, weights=None, **_options(name, image_size, num_classes, like_pretrained)
        )
    except (AssertionError, ValueError) as error:  # not divisible by ViT's patches or MaxViT's windows
        raise UsageError(
            f"{name} cannot take images of {image_size}×{image_size} pixels: {first_line(error)}"
        ) from error
    return module


def shapes(name: str, *, image_size: int = 224, num_classes: int | None = None) -> Shapes:
    """The names and shapes of the network's state dict, in order, the classifier's last. Takes no memory and almost no
    time.
    """
    with _WithoutMemory():
        module = build(name, image_size=image_size, num_classes=num_classes)
    return {key: tuple(value.shape) for key, value in module.state_dict().items()}


def models_that_fit(state: Mapping[str, torch.Tensor]) -> list[str]:
    """The torchvision models whose state dict has these names and shapes, except for the classifier's last layer and
    ViT's image size.
    """
    return [name for name in model_names() if _fits(shapes(name), state)]


def drop_auxiliary_heads(module: nn.Module) -> None:
    """GoogLeNet's and Inception's heads for training never run in eval mode, but they would count as parameters."""
    for head in _AUXILIARY_HEADS:
        if getattr(module, head, None) is not None:
            setattr(module, head, None)
            setattr(module, "aux_logits", False)  # noqa: B010 - mypy takes any attribute of a module for a tensor


def without_auxiliary_heads(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict without the tensors of the heads that drop_auxiliary_heads drops."""
    return {key: value for key, value in state.items() if key.split(".")[0] not in _AUXILIARY_HEADS}


def _options(name: str, image_size: int, num_classes: int | None, like_pretrained: bool) -> dict[str, Any]:
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if name in _WITH_AUXILIARY_HEADS:
        options |= {"aux_logits": False, "init_weights": False, "transform_input": like_pretrained}
    if name.startswith("vit_"):
        options["image_size"] = image_size
    if name.startswith("maxvit"):
        options["input_size"] = (image_size, image_size)
    return options


def _fits(wanted: Shapes, state: Mapping[str, torch.Tensor]) -> bool:
    given = {key: tuple(value.shape) for key, value in without_auxiliary_heads(dict(state)).items()}
    head = list(wanted)[-1].rsplit(".", 1)[0] + "."
    free = [key for key in wanted if key.startswith(head) or "pos_embedding" in key]
    needed = {
        key: shape for key, shape in wanted.items() if key not in free and not key.endswith("num_batches_tracked")
    }
    return all(given.get(key) == shape for key, shape in needed.items()) and given.keys() <= wanted.keys()


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
