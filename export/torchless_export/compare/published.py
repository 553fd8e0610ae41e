"""What torchvision publishes about the models that are compared: errors of named weights, GFLOPs."""

from importlib.util import find_spec
from typing import Any

from torchless.model.manifest import Manifest, Published
from torchless_export.compare.comparison import Errors, Figures


def published_figures(manifest: Manifest, weights: str) -> Figures:
    """The figures of the weights in the artifact; for an untrained one those of torchvision's `weights` ("DEFAULT",
    "IMAGENET1K_V1", …).

    torchvision publishes nothing about other image sizes or other classes, nor about other models: then there are no
    errors and no GFLOPs.
    """
    model, own = manifest.model, manifest.published
    if model.source != "torchvision":
        return Figures(
            errors=None,
            no_errors="not a model of torchvision's: measure them on labelled images",
            gflops=own.gflops if own else None,
        )
    if own is not None and model.weights is not None:
        return _figures(own, model.weights)
    if find_spec("torchvision") is None:
        return Figures(errors=None, no_errors="torchvision, which publishes them, is not installed", gflops=None)
    from torchless_export.sources import catalog

    name = catalog.find_weights(model.name, "DEFAULT").name if weights == "DEFAULT" else weights
    alike = [member for member in catalog.all_weights(model.name) if _is_alike(member, manifest)]
    gflops = next((catalog.published(member).gflops for member in alike), None)
    if manifest.is_trained or model.checkpoint is not None:
        return Figures(
            errors=None,
            no_errors="own weights, or another preprocessing: measure them on labelled images",
            gflops=gflops,
        )
    member = next((member for member in alike if member.name == name), None)
    if member is None:
        why = (
            f"torchvision publishes no errors of {name} for {len(manifest.labels)} classes at "
            f"{'×'.join(map(str, manifest.image_size))} pixels"
        )
        return Figures(errors=None, no_errors=why, gflops=gflops)
    return _figures(catalog.published(member), name)


def _is_alike(member: Any, manifest: Manifest) -> bool:
    """Whether these weights are for a network with the same number of pixels and classes."""
    return (member.transforms().crop_size, len(member.meta.get("categories") or ())) == (
        [*manifest.image_size[:1]],
        len(manifest.labels),
    )


def _figures(published: Published, weights: str) -> Figures:
    if published.acc1 is None or published.acc5 is None:
        return Figures(errors=None, no_errors=f"torchvision publishes no errors of {weights}", gflops=published.gflops)
    errors = Errors(source="published", of=weights, top1=_error(published.acc1), top5=_error(published.acc5))
    return Figures(errors=errors, no_errors=None, gflops=published.gflops)


def _error(accuracy: float) -> float:
    """Percent to percent, with the digits that were published."""
    return round(100 - accuracy, 3)
