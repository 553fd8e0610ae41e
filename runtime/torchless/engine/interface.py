"""Whether a graph is the classifier that its manifest describes."""

from collections.abc import Iterable, Sequence

from torchless.errors import ArtifactError, ManifestError
from torchless.model.artifact import Artifact


def check_interface(artifact: Artifact, onnx: object) -> tuple[int | None, int | None]:
    """(the batch size that the graph is fixed to, its number of classes), each None if the graph leaves it open.

    Raises ArtifactError or ManifestError for graphs that are not such a classifier.
    """
    manifest, path = artifact.manifest, artifact.path
    inputs = {tensor.name: tensor for tensor in onnx.get_inputs()}  # type: ignore[attr-defined]
    outputs = {tensor.name: tensor for tensor in onnx.get_outputs()}  # type: ignore[attr-defined]
    if manifest.input.name not in inputs or len(inputs) != 1 or manifest.output.name not in outputs:
        raise ManifestError(
            f"{path}: the manifest says {_shown([manifest.input.name])} → {_shown([manifest.output.name])}, the graph "
            f"has {_shown(inputs)} → {_shown(outputs)}"
        )
    source, target = inputs[manifest.input.name], outputs[manifest.output.name]
    pixels, (height, width) = manifest.input.takes_pixels, manifest.image_size
    element, wanted = (
        ("uint8", ("height", "width", 3))
        if pixels
        else ("float32", ("batch", manifest.preprocess.channels, height, width))
    )
    if source.type != _ONNX_TYPES[element] or not _fits(source.shape, wanted):
        raise ManifestError(
            f"{path}: images are passed as {element} ({', '.join(map(str, wanted))}), the graph takes {source.type} "
            f"({', '.join(map(str, source.shape))})"
        )
    if isinstance(source.shape[0], int) and source.shape[0] < 1:
        raise ManifestError(f"{path}: the graph takes batches of {source.shape[0]} images")
    batch, classes = source.shape[0], target.shape[-1] if target.shape else None
    if len(target.shape) != 2:
        raise ArtifactError(
            f"{path} is not a classifier: its output {target.name} has {len(target.shape)} dimensions, not "
            f"(batch, classes)"
        )
    return batch if isinstance(batch, int) and not pixels else None, classes if isinstance(classes, int) else None


_ONNX_TYPES = {"float32": "tensor(float)", "uint8": "tensor(uint8)"}


def _fits(shape: Sequence[int | str | None], wanted: Sequence[int | str]) -> bool:
    """Whether a graph's input of `shape` takes arrays of the shape `wanted`, in which a name stands for any size."""
    return len(shape) == len(wanted) and all(
        not (isinstance(got, int) and isinstance(want, int)) or got == want
        for got, want in zip(shape, wanted, strict=True)
    )


def _shown(names: Iterable[str]) -> str:
    """Shortened, because they come from the file and may have any length."""
    return ", ".join(name if len(name) <= 80 else f"{name[:79]}…" for name in names)
