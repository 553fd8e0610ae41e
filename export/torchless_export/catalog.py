"""What torchvision offers: its classifiers, their weights, and what it publishes about them. Nothing here is typed from memory."""

from difflib import get_close_matches
from typing import Any

import torchvision

from torchless.manifest import Published
from torchless_export.errors import UnknownModelError


def model_names() -> list[str]:
    """The names of torchvision's classification models, sorted."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def check_model(name: str) -> str:
    """`name`, if torchvision has a classifier of that name; else UnknownModelError with the nearest names."""
    if name in model_names():
        return name
    near = get_close_matches(name.lower(), model_names(), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}?" if near else f"it has {', '.join(model_names())}"
    raise UnknownModelError(f"torchvision has no classifier {name!r}; {hint}")


def find_weights(model: str, weights: str) -> Any:
    """torchvision's WeightsEnum member of `model` for "DEFAULT" or a name such as "IMAGENET1K_V1"; UnknownModelError names those there are."""
    members = torchvision.models.get_model_weights(check_model(model)).__members__
    if weights not in members:
        raise UnknownModelError(f"{model} has no weights {weights!r}; it has {', '.join(members)} (or none)")
    return members[weights]


def published(weights: Any) -> Published:
    """Top-1 and top-5 accuracy in percent and GFLOPs, as torchvision publishes them for these weights."""
    metrics = {dataset: figures for dataset, figures in weights.meta["_metrics"].items() if "acc@1" in figures}
    dataset = next(iter(metrics), None)
    figures = metrics[dataset] if dataset is not None else {}
    return Published(acc1=figures.get("acc@1"), acc5=figures.get("acc@5"), gflops=weights.meta.get("_ops"), dataset=dataset)


def imagenet_labels() -> tuple[str, ...]:
    """torchvision's 1,000 ImageNet categories, in the order of the classes."""
    return tuple(torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"])
