"""A network as it is in the user's training script: the module itself, and the transform that they evaluate with."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.parallel import DataParallel, DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from torchless.errors import UsageError, first_line
from torchless.model.artifact import sha256_of
from torchless.model.labels import GivenLabels
from torchless.model.manifest import Activation, Assumption, ModelInfo, parse_activation
from torchless.model.preprocessing import check_unit_range
from torchless_export.sources.architectures import drop_auxiliary_heads
from torchless_export.sources.images import TestImage
from torchless_export.sources.labels import in_file, in_value
from torchless_export.sources.load import LoadedModel, channels_of, check_size, thresholds_for, with_weights
from torchless_export.sources.transforms import Transform, as_transform, opens_grey, read_transform

_WRAPPERS = (DataParallel, DistributedDataParallel, AveragedModel)


def load_live(
    module: nn.Module,
    *,
    name: str,
    transform: Any,
    labels: GivenLabels | None,
    activation: Activation | None = None,
    threshold: float | tuple[float, ...] | None = None,
    examples: Sequence[TestImage] = (),
) -> LoadedModel:
    """A copy of `module` on the CPU in eval mode, with what the manifest says about it; `module` stays as it is.

    `name` is the model's in the manifest, "" for that of the module's class. `transform` makes the network's input of
    an RGB image. `examples` tell that input's size where the transform fixes none. Raises UsageError for a module that
    cannot be copied or is no classifier, a transform that cannot be expressed, and labels that do not fit.
    """
    if transform is None:
        raise UsageError("give `transform`, which makes the network's input of an image: the one you evaluate with")
    activation = parse_activation(activation) if activation is not None else None
    if labels is None:
        raise UsageError("give `labels`, the names of the classes in order")
    network = copy_to_cpu(module)
    kind, channels = type(network), channels_of(network)
    prepare = as_transform(transform, channels=channels)
    weights = f"{kind.__module__}.{kind.__qualname__}"
    info = ModelInfo(name=name or kind.__name__, source="module", weights=weights)
    assumed: dict[Assumption, bool] = {
        "transform": opens_grey(transform, channels),
        "activation": activation is None,
    }
    loaded = LoadedModel(
        module=network,
        preprocess=read_transform(transform, channels=channels),
        transform=prepare,
        labels=(),
        info=with_weights(info, network),
        activation=activation or "softmax",
        assumed=tuple(name for name, is_assumed in assumed.items() if is_assumed),
    )
    check_unit_range(loaded.preprocess.mean, loaded.preprocess.std)
    if loaded.preprocess.size is None:
        loaded = replace(loaded, size=_size_of(examples, prepare))
    outputs = check_size(loaded)
    loaded = _labelled(loaded, labels, outputs)
    return replace(loaded, thresholds=thresholds_for(loaded.labels, outputs, loaded.activation, threshold))


def copy_to_cpu(module: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode, out of DataParallel, DistributedDataParallel, AveragedModel and torch.compile.

    Its hooks are kept: some, such as those of weight_norm, are part of the network. Raises UsageError for a module that
    cannot be copied.
    """
    inner = _unwrapped(module)
    try:
        with torch.no_grad():
            network: nn.Module = copy.deepcopy(inner, _on_cpu(inner))
    except Exception as error:  # the user's module may hold anything
        raise UsageError(
            f"cannot copy the {type(inner).__name__}: {first_line(error)}; export a module without what cannot be "
            "copied (open files, locks, loggers of a trainer, …), such as the network inside it"
        ) from error
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            setattr(parent, name, _unwrapped(child))
    drop_auxiliary_heads(network)
    return network.eval()


def _unwrapped(module: nn.Module) -> nn.Module:
    while True:
        # The class that torch.compile returns is private; this is the attribute that state dicts show.
        inner = module.module if isinstance(module, _WRAPPERS) else getattr(module, "_orig_mod", None)
        if not isinstance(inner, nn.Module):
            return module
        module = inner


def _on_cpu(module: nn.Module) -> dict[int, Any]:
    """A memo for deepcopy that puts each tensor on the CPU, so that the copy needs no memory of the device.

    Tensors beside parameters and buffers too: no `.cpu()` would move them, and deepcopy takes none with a gradient.
    """
    tensors: list[torch.Tensor] = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        tensors += [value for value in vars(part).values() if isinstance(value, torch.Tensor)]
    return {id(tensor): _cpu_copy(tensor) for tensor in tensors}


def _cpu_copy(tensor: torch.Tensor) -> torch.Tensor:
    values = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(values, requires_grad=tensor.requires_grad) if isinstance(tensor, nn.Parameter) else values


def _size_of(examples: Sequence[TestImage], transform: Transform) -> tuple[int, int]:
    """(height, width) of all examples after the transform."""
    if not examples:
        raise UsageError(
            "the transform does not bring images to one size; give `examples`, some of the images that you evaluate "
            "with, which are of one size after it"
        )
    sizes: dict[tuple[int, int], str] = {}
    for test in examples:
        height, width = transform(test.image).shape[-2:]
        sizes.setdefault((height, width), test.record.name)
    if len(sizes) > 1:
        found = ", ".join(f"{name} {height}×{width}" for (height, width), name in list(sizes.items())[:3])
        raise UsageError(
            f"the transform leaves images of different sizes ({found}), and a network takes one size: add a crop or an "
            "exact resize to it"
        )
    return next(iter(sizes))


def _labelled(loaded: LoadedModel, labels: GivenLabels, outputs: int) -> LoadedModel:
    path = Path(labels) if isinstance(labels, str | PathLike) else None
    found = in_file(path) if path is not None else in_value(labels, "`labels`")
    found.check(outputs, loaded.activation)
    if path is None:
        return replace(loaded, labels=found.names)
    info = replace(loaded.info, labels_file=path.name, labels_sha256=sha256_of(path))
    return replace(loaded, labels=found.names, info=info, notes=loaded.notes + found.notes)
