"""From a request to a loaded model: torchvision's weights, a checkpoint, random weights, or a model that the user's
function builds.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import nn

from torchless.engine.head import check_threshold, is_multi_label
from torchless.errors import UsageError, first_line
from torchless.model.artifact import sha256_of
from torchless.model.explanation import assumed_steps
from torchless.model.manifest import Activation, Assumption, ModelInfo, OutputInfo, Published
from torchless.model.preprocessing import Preprocess, PreprocessChanges, check_unit_range
from torchless_export.sources import architectures, weights
from torchless_export.sources.builders import call_builder
from torchless_export.sources.catalog import check_model, classifies, find_weights, published
from torchless_export.sources.fitting import classes_in, fill, fit
from torchless_export.sources.labels import labels_for
from torchless_export.sources.libraries import library_model, name_for_manifest
from torchless_export.sources.reinit import calibration_batch, reinitialise
from torchless_export.sources.request import NO_WEIGHTS, Library, ModelRequest, check_request, library_of
from torchless_export.sources.tensors import fingerprint
from torchless_export.sources.transforms import (
    Transform,
    as_transform,
    opens_grey,
    read_transform,
    torchvision_transform,
)


@dataclass(frozen=True, kw_only=True)
class LoadedModel:
    """A network in eval mode, all that the manifest says about it, and the transform that the runtime's preprocessing
    has to equal.

    `activation` and `thresholds` are those of the manifest's output, `assumed` is what the user did not say. `size` is
    (height, width) of a prepared image where the preprocessing does not fix it. `notes` tell the user what was chosen
    where there was a choice.
    """

    module: nn.Module
    preprocess: Preprocess
    transform: Transform
    labels: tuple[str, ...]
    info: ModelInfo
    published: Published | None = None
    activation: Activation = "softmax"
    thresholds: tuple[float, ...] | None = None
    assumed: tuple[Assumption, ...] = ()
    size: tuple[int, int] | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width) of a prepared image. Raises UsageError where nothing fixes it."""
        return shape_of(self.preprocess, self.size)


def shape_of(spec: Preprocess, size: tuple[int, int] | None = None) -> tuple[int, int, int]:
    """(channels, height, width) of every image prepared as `spec` says, or of `size`. Raises UsageError where it
    depends on the image.
    """
    size = spec.size or size
    if size is None:
        raise UsageError(
            f"with resize {spec.resize} and no crop, nothing says which size the network takes; give `crop` (height x "
            "width), which leaves images of that size as they are"
        )
    return (spec.channels, *size)


def load(request: ModelRequest) -> LoadedModel:
    """Loads what was asked for. Raises UnknownModelError, WeightsError or UsageError."""
    check_request(request)
    loaded = _loaded(request)
    loaded.module.eval()
    info = replace(
        with_weights(loaded.info, loaded.module),
        checkpoint=request.checkpoint.name if request.checkpoint is not None else None,
        checkpoint_key=request.checkpoint_key,
        changes=request.changes if request.changes != PreprocessChanges() else None,
    )
    loaded = replace(loaded, activation=request.activation or loaded.activation)
    outputs = check_size(loaded)
    labels, notes = labels_for(request, loaded.labels, outputs, loaded.activation)
    assumed = _assumed(request, loaded, labels)
    loaded = replace(
        loaded,
        labels=labels,
        thresholds=thresholds_for(labels, outputs, loaded.activation, request.threshold),
        notes=loaded.notes + notes,
        assumed=assumed,
    )
    if isinstance(request.labels, Path):
        info = replace(info, labels_file=request.labels.name, labels_sha256=sha256_of(request.labels))
    return replace(loaded, info=info)


def _assumed(request: ModelRequest, loaded: LoadedModel, labels: tuple[str, ...]) -> tuple[Assumption, ...]:
    """What the user did not say. Nothing of torchvision's own weights, which say all of it."""
    if request.builder is None and request.checkpoint is None:
        return loaded.assumed
    rebuilt = request.builder is None
    found: dict[Assumption, bool] = {
        "architecture": rebuilt,
        "transform": bool(assumed_steps(loaded.preprocess, request.changes))
        if rebuilt
        else "transform" in loaded.assumed,
        "activation": request.activation is None,
        "labels": rebuilt and request.labels is None and labels == loaded.labels,  # of the default weights
    }
    return tuple(name for name, is_assumed in found.items() if is_assumed)


def thresholds_for(
    labels: tuple[str, ...], outputs: int, activation: Activation, threshold: float | tuple[float, ...] | None
) -> tuple[float, ...] | None:
    """One for each label, where `threshold` is one for all or one for each; None for None.

    Raises UsageError for what are no thresholds, and for a model that gives each image one class.
    """
    if threshold is None:
        return None
    thresholds = threshold if isinstance(threshold, tuple) else (threshold,) * len(labels)
    if len(thresholds) != len(labels):
        raise UsageError(f"`threshold` has {len(thresholds)} numbers for {len(labels)} labels")
    for each in thresholds:
        check_threshold(each)
    if not is_multi_label(OutputInfo(name="", activation=activation, thresholds=thresholds), labels, outputs):
        raise UsageError(
            f"`threshold` is for multi-label models; with {len(labels)} labels, {outputs} "
            f"output{'s' * (outputs != 1)} and `activation` {activation} each image gets one class"
        )
    return thresholds


def with_weights(info: ModelInfo, module: nn.Module) -> ModelInfo:
    """`info` with what can be said of the module's weights."""
    count = sum(parameter.numel() for parameter in module.parameters())
    return replace(info, num_params=count, state_sha256=fingerprint(module))


def _loaded(request: ModelRequest) -> LoadedModel:
    if request.builder is not None:
        return _built(request, request.builder)
    found = library_of(request.model)
    return _from_library(request, *found) if found is not None else _torchvision(request)


def _from_library(request: ModelRequest, library: Library, name: str) -> LoadedModel:
    """A network of timm or transformers, with its own weights, those of a checkpoint, or random ones."""
    path, own = request.checkpoint, request.checkpoint is None and request.weights != NO_WEIGHTS
    made = library_model(library, name, pretrained=own, num_classes=request.num_classes)
    info = ModelInfo(name=name_for_manifest(name), source=library, weights=name_for_manifest(name))
    notes: tuple[str, ...] = ()
    if path is not None:
        classes = classes_in(made.network, made.head, path, key=request.checkpoint_key)
        if request.num_classes is None and classes not in (None, len(made.labels)):
            made = library_model(library, name, pretrained=False, num_classes=classes)
        notes = fill(made.network, path, key=request.checkpoint_key)
        info = replace(info, weights=path.name, sha256=sha256_of(path))
    preprocess = request.changes.apply(made.preprocess)
    transform = made.transform if preprocess == made.preprocess else torchvision_transform(preprocess)
    if request.weights == NO_WEIGHTS:
        reinitialise(made.module, calibration_batch(transform), seed=request.seed)
        info = replace(info, weights=None, seed=request.seed)
    return LoadedModel(
        module=made.module,
        preprocess=preprocess,
        transform=transform,
        labels=made.labels,
        info=info,
        activation=made.activation or "softmax",
        assumed=() if made.activation or request.activation else ("activation",),
        notes=notes,
    )


def _torchvision(request: ModelRequest) -> LoadedModel:
    member = find_weights(check_model(request.model), "DEFAULT" if request.weights == NO_WEIGHTS else request.weights)
    if request.checkpoint is not None:
        return _from_checkpoint(request, member, request.checkpoint)
    if request.weights == NO_WEIGHTS:
        return _untrained(request, member)
    return _pretrained(request, member)


def _pretrained(request: ModelRequest, member: Any) -> LoadedModel:
    if not classifies(member):
        raise UsageError(
            f"{member} are the weights of a feature extractor: they have no categories, and torchvision fills the "
            f"classifier with NaN. {request.model} has other weights: "
            f"{', '.join(name for name in type(member).__members__ if name != member.name)}"
        )
    module, digest = weights.pretrained(request.model, member)
    architectures.drop_auxiliary_heads(module)
    info = ModelInfo(name=request.model, source="torchvision", weights=member.name, url=member.url, sha256=digest)
    loaded = _described(request, member, module, info)
    unchanged = loaded.preprocess == read_transform(member.transforms())
    return replace(loaded, published=published(member) if unchanged else None)


def _untrained(request: ModelRequest, member: Any) -> LoadedModel:
    shape = shape_of(request.changes.apply(read_transform(member.transforms())))
    module = architectures.build(request.model, image_size=shape[1], num_classes=request.num_classes)
    info = ModelInfo(name=request.model, source="torchvision", weights=None, seed=request.seed)
    loaded = _described(request, member, module, info)
    check_size(loaded)
    reinitialise(module, calibration_batch(loaded.transform), seed=request.seed)
    return loaded


def _from_checkpoint(request: ModelRequest, member: Any, path: Path) -> LoadedModel:
    sizes = replace(request.changes, channels=None, mean=None, std=None)  # these must suit the file's channels
    image_size = shape_of(sizes.apply(read_transform(member.transforms())))[1]
    fitted = fit(
        request.model,
        path,
        key=request.checkpoint_key,
        image_size=image_size,
        num_classes=request.num_classes,
        transform_input=request.transform_input is not False,
    )
    info = ModelInfo(
        name=request.model,
        source="torchvision",
        weights=path.name,
        sha256=sha256_of(path),
        transform_input=_transform_input(request, fitted.module),
    )
    request = replace(request, changes=_with_channels(request.changes, fitted.channels, path))
    return replace(_described(request, member, fitted.module, info), notes=(*fitted.notes, *_input_note(request, info)))


def _transform_input(request: ModelRequest, module: nn.Module) -> bool | None:
    """Whether it does, None for networks that have no such setting. Raises UsageError where it was said of one."""
    found = getattr(module, "transform_input", None)
    if found is None and request.transform_input is not None:
        raise UsageError(f"`transform_input` is for googlenet and inception_v3; {request.model} has no such setting")
    return found


def _input_note(request: ModelRequest, info: ModelInfo) -> tuple[str, ...]:
    if not info.transform_input or request.transform_input is not None:
        return ()
    return (
        (
            f"{info.name} is built to normalise its input once more, as torchvision's pretrained one does; if yours "
            "was trained from scratch, give `no_transform_input` (in Python transform_input=False)"
        ),
    )


def _with_channels(changes: PreprocessChanges, channels: Literal[1, 3], path: Path) -> PreprocessChanges:
    """The changes for images of the checkpoint's channels, which the user need not give."""
    if changes.channels not in (None, channels):
        raise UsageError(
            f"the network in {path} takes images of {channels} channels; got `channels` {changes.channels}"
        )
    if channels == 1 and (changes.mean is None or changes.std is None):
        raise UsageError(f"the network in {path} takes grey images; give the `mean` and `std` it was trained with")
    return replace(changes, channels=channels) if channels == 1 else changes


def _described(request: ModelRequest, member: Any, module: nn.Module, info: ModelInfo) -> LoadedModel:
    """The module with the preprocessing and labels of torchvision's weights `member`, changed as the request says."""
    preset = read_transform(member.transforms())
    preprocess = request.changes.apply(preset)
    transform = member.transforms() if preprocess == preset else torchvision_transform(preprocess)
    labels = tuple(member.meta["categories"])
    return LoadedModel(module=module, preprocess=preprocess, transform=transform, labels=labels, info=info)


def _built(request: ModelRequest, builder: str) -> LoadedModel:
    module, given, labels = call_builder(builder)
    channels = channels_of(module)
    described = given if isinstance(given, Preprocess) else read_transform(given, channels=channels)
    preprocess = request.changes.apply(described)
    check_unit_range(preprocess.mean, preprocess.std)
    info = ModelInfo(name=request.model, source="builder", builder=builder, weights=builder)
    # The very callable that the builder returned, unless it returned none, or the user changed something.
    as_given = given is not described and preprocess == described
    transform = as_transform(given, channels=channels) if as_given else torchvision_transform(preprocess)
    notes: tuple[str, ...] = ()
    if request.checkpoint is not None:
        notes = fill(module, request.checkpoint, key=request.checkpoint_key)
        info = replace(info, weights=request.checkpoint.name, sha256=sha256_of(request.checkpoint))
    elif request.weights == NO_WEIGHTS:
        reinitialise(module, calibration_batch(transform), seed=request.seed)
        info = replace(info, weights=None, seed=request.seed)
    says_all = given is described or not opens_grey(given, channels)
    return LoadedModel(
        module=module,
        preprocess=preprocess,
        transform=transform,
        labels=tuple(labels),
        info=info,
        assumed=() if says_all else ("transform",),
        notes=notes,
    )


def channels_of(network: nn.Module) -> int:
    """Of the network's images, by its first convolution: 1 or 3."""
    first = next((part for part in network.modules() if isinstance(part, nn.Conv2d)), None)
    return 1 if first is not None and first.in_channels == 1 else 3


def check_size(loaded: LoadedModel) -> int:
    """The number of classes, from one forward pass; UsageError where the network cannot take images of this size, or is
    not a classifier.
    """
    (channels, height, width), name = loaded.shape, loaded.info.name
    try:
        with torch.inference_mode():
            output = loaded.module.eval()(torch.zeros(1, channels, height, width))
    except Exception as error:  # whatever the network raises
        raise UsageError(
            f"{name} cannot take float32 images of {channels} channels and {height}×{width} pixels: {first_line(error)}"
        ) from error
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise UsageError(
            f"{name} is no classifier: for one image it gives {type(output).__name__}, not logits (1, classes)"
        )
    return output.shape[1]
