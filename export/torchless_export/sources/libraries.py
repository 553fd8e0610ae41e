"""Networks that other libraries define, each with its own preprocessing: `timm:NAME`, and `hf:NAME` or `hf:FOLDER` of
Hugging Face's transformers.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from logging import ERROR, LogRecord
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import nn

from torchless.errors import UsageError, extra, first_line
from torchless.model.manifest import Activation
from torchless.model.preprocessing import Interpolation, Preprocess, Resize
from torchless_export.errors import UnknownModelError, WeightsError
from torchless_export.sources.request import Library
from torchless_export.sources.transforms import Transform, as_transform, read_transform

_PIL_FILTERS: dict[int, Interpolation] = {
    0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class LibraryModel:
    """A network, what its library does to an image, and the names of its classes, () where the library has none.

    `network` is the module whose state dict files hold, mostly `module` itself. `head` is where the classifier is in
    it, None where the library does not say; `activation` is None there too.
    """

    module: nn.Module
    network: nn.Module
    preprocess: Preprocess
    transform: Transform
    labels: tuple[str, ...]
    activation: Activation | None = None
    head: str | None = None


def library_model(library: Library, name: str, *, pretrained: bool, num_classes: int | None) -> LibraryModel:
    """The network `name`, with its own weights if `pretrained`.

    Raises MissingDependencyError without the library, UnknownModelError for a name that it does not have, WeightsError
    where weights or configuration cannot be had, UsageError for preprocessing that cannot be expressed.
    """
    return _LIBRARIES[library](name, pretrained, num_classes)


def _from_timm(name: str, pretrained: bool, num_classes: int | None) -> LibraryModel:
    with extra("timm", f"timm:{name}"):
        import timm
    if not timm.is_model(name.partition(".")[0]):
        near = get_close_matches(name, timm.list_models(), n=3)
        raise UnknownModelError(f"timm has no model {name}" + f"; did you mean {' or '.join(near)}?" * bool(near))
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    with _having(f"timm:{name}"):
        module: Any = timm.create_model(name, pretrained=pretrained, **options)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(module), is_training=False)
    channels = module.pretrained_cfg["input_size"][0]
    subset = timm.data.infer_imagenet_subset(module) if num_classes is None else None
    known = timm.data.ImageNetInfo(subset) if subset is not None else None
    head = module.pretrained_cfg.get("classifier")
    return LibraryModel(
        module=module,
        network=module,
        preprocess=read_transform(transform, channels=channels),
        transform=as_transform(transform, channels=channels),
        labels=tuple(known.index_to_description(i) for i in range(known.num_classes())) if known is not None else (),
        activation="softmax" if subset is not None else None,
        head=head if isinstance(head, str) else None,
    )


class _Logits(nn.Module):
    """A network of transformers, which gives an object, as one that gives the logits alone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixel_values: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(pixel_values=pixel_values).logits
        return logits


def _from_transformers(name: str, pretrained: bool, num_classes: int | None) -> LibraryModel:
    with extra("hf", f"hf:{name}"):
        from transformers import AutoConfig, AutoImageProcessor, AutoModelForImageClassification
        from transformers.utils.logging import disable_progress_bar
    if name.startswith((".", "/", "~")) and not Path(name).is_dir():
        raise WeightsError(
            f"there is no folder {name}: hf: takes one with config.json, preprocessor_config.json and "
            "model.safetensors, or a name of the hub"
        )
    if num_classes is not None:
        raise UsageError("`num_classes` does not go with a model of Hugging Face: its config.json has the classes")
    disable_progress_bar()
    with _having(f"hf:{name}"):
        config = AutoConfig.from_pretrained(name)
        processor = AutoImageProcessor.from_pretrained(name, backend="pil")
        network: nn.Module = (
            AutoModelForImageClassification.from_pretrained(name)
            if pretrained
            else AutoModelForImageClassification.from_config(config)
        )
    labels = tuple(config.id2label[index] for index in sorted(config.id2label))
    multi_label = config.problem_type == "multi_label_classification"
    return LibraryModel(
        module=_Logits(network),
        network=network,
        preprocess=read_processor(processor),
        transform=_ProcessorTransform(processor),
        labels=labels,
        activation="sigmoid" if multi_label else "softmax" if config.problem_type is not None else None,
    )


class _ProcessorTransform:
    """An image processor of transformers as a function of one RGB image."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, image: Image.Image) -> torch.Tensor:
        pixels: torch.Tensor = self._processor(images=image, return_tensors="pt")["pixel_values"][0]
        return pixels


def read_processor(processor: Any) -> Preprocess:
    """What an image processor of transformers does on Pillow's images, as numbers.

    Raises UsageError for what Preprocess cannot express, naming it. Whether the numbers are right, the gate finds out:
    it compares with the processor itself.
    """
    given: dict[str, Any] = processor.to_dict()
    kind = type(processor).__name__
    if given.get("do_pad"):
        raise UsageError(f"{kind} pads images (do_pad), which a manifest cannot express")
    if not given.get("do_rescale", True) or abs(given.get("rescale_factor", 1 / 255) * 255 - 1) > 1e-9:
        raise UsageError(f"{kind} does not scale values to 0..1 (do_rescale, rescale_factor), which a manifest needs")
    resize, crop = _resize_and_crop(given, kind)
    normalizes = given.get("do_normalize", True)
    return Preprocess(
        resize=resize,
        crop=crop,
        mean=tuple(given["image_mean"]) if normalizes else (0.0,) * 3,
        std=tuple(given["image_std"]) if normalizes else (1.0,) * 3,
        interpolation=_PIL_FILTERS[int(given["resample"])] if given.get("resample") is not None else "bilinear",
        centering="down",
    )


def _resize_and_crop(given: dict[str, Any], kind: str) -> tuple[Resize, tuple[int, int] | None]:
    crop = _box(given["crop_size"]) if given.get("do_center_crop") else None
    if not given.get("do_resize", True):
        return Resize(mode="none"), crop
    size, share = given["size"], given.get("crop_pct")
    if "shortest_edge" in size:
        side = int(size["shortest_edge"])
        if share is None:
            return Resize(mode="short_side", size=(side,)), crop
        # As ConvNeXT's: a share of the image is cropped below 384 pixels, from there on it is squeezed.
        if side < 384:
            return Resize(mode="short_side", size=(int(side / share),)), (side, side)
        return Resize(mode="exact", size=(side, side)), crop
    if {"height", "width"} <= size.keys() and share is None:
        return Resize(mode="exact", size=_box(size)), crop
    raise UsageError(f"{kind} resizes to {size}, which a manifest cannot express")


def _box(size: dict[str, Any]) -> tuple[int, int]:
    return int(size["height"]), int(size["width"])


@contextmanager
def _having(model: str) -> Iterator[None]:
    """Turns what a library raises while it builds `model` into a WeightsError."""
    with _hub_told_once():
        try:
            yield
        except Exception as error:  # of the library, of its hub's client, or of the network itself
            raise WeightsError(
                f"cannot have {model}: {first_line(error).rstrip('.')}. Where its hub cannot be reached, give a folder "
                "with its files (hf:FOLDER) or a `checkpoint`; `weights` none makes random ones"
            ) from error


@contextmanager
def _hub_told_once() -> Iterator[None]:
    """The hub's library asks a dozen times where it gets no answer, for most of a minute, and warns each time: the
    first warning says so, in our words, and the others are left out. Its last error says it all.
    """
    from huggingface_hub.utils import logging

    told = False

    def is_told(record: LogRecord) -> bool:
        nonlocal told
        cause, asks, _ = record.getMessage().partition(" thrown while requesting ")
        if record.levelno >= ERROR or told or not asks:
            return record.levelno >= ERROR
        told = True
        record.args, record.msg = (
            (),
            (
                f"no answer from Hugging Face's hub ({cause}); its library goes on asking for about a minute; "
                "HF_HUB_OFFLINE=1 makes it use its cache alone"
            ),
        )
        return True

    handlers = tuple(logging.get_logger().handlers)
    for handler in handlers:
        handler.addFilter(is_told)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(is_told)


_LIBRARIES: dict[str, Callable[[str, bool, int | None], LibraryModel]] = {
    "timm": _from_timm,
    "hf": _from_transformers,
}


def name_for_manifest(name: str) -> str:
    """The name without the folders of this machine."""
    return Path(name).name if Path(name).is_dir() else name
