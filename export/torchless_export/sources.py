"""From a request to a loaded model: torchvision's weights, a checkpoint, random weights, or a model that a function of the user's builds."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import nn

from torchless.errors import UsageError
from torchless.labels import check_label_count, read_labels
from torchless.manifest import ModelInfo, Preprocess, Published
from torchless_export import judges, weights
from torchless_export.catalog import check_model, find_weights, published
from torchless_export.checkpoint import load_into, read_state_dict
from torchless_export.presets import Transform, read_preset, torchvision_transform
from torchless_export.reinit import reinitialise

NO_WEIGHTS = "none"

# The two models with auxiliary heads, which only training uses; without init_weights they take half a minute to build.
_WITHOUT_AUXILIARY_HEADS = {name: {"aux_logits": False, "init_weights": False} for name in ("googlenet", "inception_v3")}


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """Which model is wanted. `weights` is "DEFAULT", a name such as "IMAGENET1K_V1", or "none" for random ones drawn with `seed`."""

    model: str
    weights: str = "DEFAULT"
    checkpoint: Path | None = None
    builder: str | None = None
    labels: Path | None = None
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network in eval mode with all that the manifest says of it, and the transform that the runtime's preprocessing must equal."""

    module: nn.Module
    preprocess: Preprocess
    transform: Transform
    labels: tuple[str, ...]
    info: ModelInfo
    published: Published | None = None


def load(request: ModelRequest) -> LoadedModel:
    """Loads what was asked for. Raises UnknownModelError, WeightsError or UsageError."""
    if request.checkpoint is not None and request.weights != "DEFAULT":
        raise UsageError("--checkpoint and --weights exclude each other")
    loaded = _built(request, request.builder) if request.builder is not None else _torchvision(request)
    loaded.module.eval()
    num_classes = _num_classes(loaded)
    labels = loaded.labels
    if request.labels is not None:
        labels = read_labels(request.labels)
    elif num_classes != len(labels) and request.checkpoint is not None:
        raise UsageError(f"the checkpoint has {num_classes} classes; give their names with --labels FILE, one a line")
    check_label_count(labels, num_classes, f"labels file {request.labels}" if request.labels else "the labels")
    num_params = sum(parameter.numel() for parameter in loaded.module.parameters())
    return replace(loaded, labels=labels, info=replace(loaded.info, num_params=num_params))


def _torchvision(request: ModelRequest) -> LoadedModel:
    name = check_model(request.model)
    if request.checkpoint is not None:
        return _from_checkpoint(request, request.checkpoint)
    if request.weights == NO_WEIGHTS:
        return _untrained(request)
    member = find_weights(name, request.weights)
    module, digest = weights.pretrained(name, member)
    _drop_auxiliary_heads(module)
    transform = member.transforms()
    return LoadedModel(
        module=module,
        preprocess=read_preset(transform),
        transform=transform,
        labels=tuple(member.meta["categories"]),
        info=ModelInfo(name=name, source="torchvision", weights=member.name, url=member.url, sha256=digest),
        published=published(member),
    )


def _untrained(request: ModelRequest) -> LoadedModel:
    loaded = _architecture(request.model, {})
    reinitialise(loaded.module, judges.calibration_batch(loaded.transform), seed=request.seed)
    return replace(loaded, info=replace(loaded.info, seed=request.seed))


def _from_checkpoint(request: ModelRequest, path: Path) -> LoadedModel:
    state = read_state_dict(path)
    # A checkpoint nearly always began as torchvision's pretrained weights, with which these two networks also transform their input.
    options: dict[str, Any] = {"transform_input": True} if request.model in _WITHOUT_AUXILIARY_HEADS else {}
    loaded = _architecture(request.model, options)
    head = list(loaded.module.state_dict())[-1]  # in every one of torchvision's models the classifier comes last
    if head in state and state[head].ndim > 0 and len(state[head]) != len(loaded.labels):
        loaded = _architecture(request.model, options | {"num_classes": len(state[head])})
    load_into(loaded.module, _without_auxiliary_heads(state), path)
    return replace(loaded, info=replace(loaded.info, weights=path.name, sha256=weights.sha256_of(path)))


def _architecture(name: str, options: dict[str, Any]) -> LoadedModel:
    """The network with torchvision's initial weights, and the preprocessing and labels of its default ones."""
    member = find_weights(name, "DEFAULT")
    module = torchvision.models.get_model(name, weights=None, **_WITHOUT_AUXILIARY_HEADS.get(name, {}), **options)
    transform = member.transforms()
    return LoadedModel(
        module=module,
        preprocess=read_preset(transform),
        transform=transform,
        labels=tuple(member.meta["categories"]),
        info=ModelInfo(name=name, source="torchvision", weights=None),
    )


def _built(request: ModelRequest, builder: str) -> LoadedModel:
    module, given, labels = _call_builder(builder)
    preprocess = given if isinstance(given, Preprocess) else read_preset(given)
    transform = torchvision_transform(preprocess)
    info = ModelInfo(name=request.model, source="builder", builder=builder, weights=builder)
    if request.checkpoint is not None:
        load_into(module, read_state_dict(request.checkpoint), request.checkpoint)
        info = replace(info, weights=request.checkpoint.name, sha256=weights.sha256_of(request.checkpoint))
    elif request.weights == NO_WEIGHTS:
        reinitialise(module, judges.calibration_batch(transform), seed=request.seed)
        info = replace(info, weights=None, seed=request.seed)
    elif request.weights != "DEFAULT":
        raise UsageError("with --builder, --weights takes none or nothing: the builder brings its own")
    return LoadedModel(module=module, preprocess=preprocess, transform=transform, labels=tuple(labels), info=info)


def _call_builder(builder: str) -> tuple[nn.Module, Any, Any]:
    function = _find(builder)
    made = function()
    if not isinstance(made, tuple) or len(made) != 3 or not isinstance(made[0], nn.Module):
        raise UsageError(f"builder {builder} must return (torch.nn.Module, preprocessing, labels)")
    return made


def _find(builder: str) -> Callable[[], Any]:
    module_name, _, function_name = builder.partition(":")
    if not module_name or not function_name:
        raise UsageError(f"--builder takes package.module:function, got {builder!r}")
    if (here := str(Path.cwd())) not in sys.path:  # a script's path has its own folder, not the one it is called from
        sys.path.insert(0, here)
    try:
        function = getattr(importlib.import_module(module_name), function_name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot find builder {builder}: {error} (looked in {here} and the installed packages)") from error
    if not callable(function):
        raise UsageError(f"builder {builder} is not a function")
    found: Callable[[], Any] = function
    return found


def _drop_auxiliary_heads(module: nn.Module) -> None:
    """GoogLeNet and Inception have heads for training alone; in eval mode they never run, but they would count as parameters."""
    for head in ("aux1", "aux2", "AuxLogits"):
        if getattr(module, head, None) is not None:
            setattr(module, head, None)
            setattr(module, "aux_logits", False)  # noqa: B010 - mypy takes any attribute of a module for a tensor


def _without_auxiliary_heads(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {key: value for key, value in state.items() if not key.startswith(("aux1.", "aux2.", "AuxLogits."))}


def _num_classes(loaded: LoadedModel) -> int:
    side = loaded.preprocess.crop_size
    with torch.inference_mode():
        output = loaded.module(torch.zeros(1, 3, side, side))
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise UsageError(f"{loaded.info.name} is no classifier: for one image it gives {type(output).__name__}, not logits (1, classes)")
    return output.shape[1]
