"""What torchvision offers: its classifiers, their weights, and what it publishes about them. No figure here is typed
from memory.
"""

import math
from dataclasses import asdict, dataclass
from typing import Any

import torchvision

from torchless.model.manifest import Published
from torchless_export.sources.names import check_name, check_weights


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One model with one of its weights, as torchvision publishes them.

    `acc1` and `acc5` are percent on `dataset`, `file_size_mb` (10⁶ bytes) is of torchvision's file, `image_size` and
    `resize_size` are pixels. `classifies` is False for weights without categories, which are for feature extraction and
    cannot be exported.
    """

    model: str
    weights: str
    default: bool
    classifies: bool
    num_params: int
    gflops: float | None
    file_size_mb: float | None
    acc1: float | None
    acc5: float | None
    dataset: str | None
    image_size: int
    resize_size: int
    interpolation: str
    url: str

    def to_dict(self) -> dict[str, Any]:
        """For JSON; the accuracies have torchvision's names."""
        row = asdict(self)
        return {{"acc1": "acc@1", "acc5": "acc@5"}.get(name, name): value for name, value in row.items()}


def model_names() -> list[str]:
    """The names of torchvision's classification models, sorted."""
    names: list[str] = torchvision.models.list_models(module=torchvision.models)
    return names


def entries() -> list[Entry]:
    """Every model with every one of its weights, by name."""
    return [_entry(name, member) for name in model_names() for member in all_weights(name)]


def all_weights(model: str) -> list[Any]:
    """torchvision's WeightsEnum members of a model, the oldest first."""
    return list(torchvision.models.get_model_weights(check_model(model)))


def check_model(name: str) -> str:
    """`name`, if torchvision has a classifier of that name; else UnknownModelError with the nearest names."""
    check_name(name, model_names())
    return name


def find_weights(model: str, weights: str) -> Any:
    """torchvision's WeightsEnum member of `model` for "DEFAULT" or a name such as "IMAGENET1K_V1"; UnknownModelError
    names those that exist.
    """
    members = torchvision.models.get_model_weights(check_model(model)).__members__
    check_weights(model, weights, members)
    return members[weights]


def published(weights: Any) -> Published:
    """Top-1 and top-5 accuracy in percent and GFLOPs, as torchvision publishes them for these weights."""
    metrics = {dataset: figures for dataset, figures in weights.meta["_metrics"].items() if "acc@1" in figures}
    dataset = next(iter(metrics), None)
    figures = {name: value for name, value in metrics.get(dataset, {}).items() if not math.isnan(value)}
    return Published(
        acc1=figures.get("acc@1"), acc5=figures.get("acc@5"), gflops=weights.meta.get("_ops"), dataset=dataset
    )


def classifies(weights: Any) -> bool:
    """Whether these weights have categories; those of vgg16 IMAGENET1K_FEATURES have none, and NaN instead of a
    classifier.
    """
    return weights.meta.get("categories") is not None


def imagenet_labels() -> tuple[str, ...]:
    """torchvision's 1,000 ImageNet categories, in the order of the classes."""
    return tuple(torchvision.models.ResNet50_Weights.DEFAULT.meta["categories"])


def _entry(model: str, weights: Any) -> Entry:
    figures, transform = published(weights), weights.transforms()
    return Entry(
        model=model,
        weights=weights.name,
        default=weights is type(weights).DEFAULT,
        classifies=classifies(weights),
        num_params=weights.meta["num_params"],
        gflops=figures.gflops,
        file_size_mb=_megabytes(weights.meta.get("_file_size")),
        acc1=figures.acc1,
        acc5=figures.acc5,
        dataset=figures.dataset,
        image_size=transform.crop_size[0],
        resize_size=transform.resize_size[0],
        interpolation=transform.interpolation.value,
        url=weights.url,
    )


def _megabytes(mebibytes: float | None) -> float | None:
    """torchvision divides its sizes by 2²⁰ and calls them MB; here MB are 10⁶ bytes, as everywhere."""
    return None if mebibytes is None else round(mebibytes * 2**20 / 1e6, 3)
